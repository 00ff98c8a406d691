"""Every pass of the table keeps what its label promises, on the engine: generated programs run on firefly in exact mode
with the pass and without it.

E and D: the same values, effects in the same order, and no call that the plain program does not make, text for text (D
as the generated programs' declarations are true). S: the same for greedy programs. G: the pass does not run without a
record; with one, the program still gives what it declares. `pytest -m slow` here tries many programs.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from lampc.ir import Assignment, CompileError, Key, Module, prog
from lampc.ir.adapters.arranged import layout_in, own_blocks
from lampc.ir.types import mismatch
from lampc.passes import LABELS, PASSES, Pass, PassContext, Pipeline, RunOptions, judge, load
from lampc.passes.options import write_pass
from lampc.passes.schedule import Layout
from lampc.passes.schedule.fuse_calls import FuseCalls
from lampc.passes.schedule.joining import LONGEST, call_sites, why_not
from lampc.runtime.cache import CallCache
from lampc.runtime.calls import CallDesk
from lampc.runtime.compile import Executable, lower
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Row
from tests.content import words
from tests.strategies import LOG, programs

LOWERED = ("lower-prompts", "lower-kv")
"""What every program needs in order to run."""
FIRST = {"hoist": "inline", "cse": "inline", "dce": "inline"}
"""What makes a pass find something to do."""
law = settings(
    deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, phases=[Phase.explicit, Phase.generate]
)
inputs = st.fixed_dictionaries({"text": words, "items": st.lists(words, max_size=2)})


class Wiki:
    """A store of passages that has one for every query."""

    def search(self, query: str, k: int = 3) -> list[str]:
        return [f"{query} {i}" for i in range(max(k, 0))]


@dataclass
class Run:
    """What a run gave."""

    value: Any
    error: str
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    effects: list[Any] = field(default_factory=list)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """The model is loaded once: what earlier runs left in its K/V cache changes nothing."""
    with Session(seed=7, retrievers={"wiki": Wiki()}) as made:
        yield made


def run(session: Session, module: Module, row: dict[str, Any], names: tuple[str, ...]) -> Run:
    """Run a module after some passes on the engine; no call of an earlier run answers one of this."""
    LOG.clear()
    session.desk = CallDesk(Store(None), session.bus, CallCache())
    lowered = lower(module, lambda name: session.target(module, name), None, ",".join(names))
    made = session.executable(module, "program", Assignment())
    spot = next(key for key, value in session._executables.items() if value is made)
    session._executables[spot] = Executable(lowered, "program")
    (outcome,) = session.run(module, [Row("row", row)], entry="program")
    del session._executables[spot]
    calls = Counter((s.predictor, repr(s.inputs), s.text) for s in outcome.trace)
    return Run(outcome.value, str(outcome.error or ""), calls, list(LOG))


def short(module: Module) -> Module:
    """The same program with answers of a few tokens."""
    for op in module.walk():
        if isinstance(op, prog.Predict):
            op.sampling = replace(op.sampling, max_tokens=24)
    return module


def sequence(name: str) -> tuple[str, ...]:
    """The pass in a pipeline that runs, where the table has it."""
    wanted = {*LOWERED, name, *([FIRST[name]] if name in FIRST else [])}
    return tuple(n for n in PASSES if n in wanted)


def labelled(*labels: str) -> list[str]:
    return [n for n in PASSES if cast(Any, load(n)).label in labels]


@pytest.mark.parametrize("examples", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_passes_that_are_exact_give_the_same_tokens(session: Session, examples: int) -> None:
    ran = 0

    @settings(law, max_examples=examples)
    @given(programs(), inputs)
    def holds(module: Module, row: dict[str, Any]) -> None:
        nonlocal ran
        before = run(session, short(module), row, tuple(n for n in PASSES if n in ("inline", *LOWERED)))
        ran += not before.error and bool(before.calls)
        for name in labelled("E", "D"):
            check(name, before, run(session, module, row, sequence(name)))

    holds()
    assert ran >= examples // 4, "most generated programs fail or ask nothing: they show little"


@pytest.mark.parametrize("examples", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_passes_of_the_same_distribution_are_exact_for_greedy_programs(session: Session, examples: int) -> None:
    names = labelled("S")

    @settings(law, max_examples=examples)
    @given(programs(greedy=True), inputs)
    def holds(module: Module, row: dict[str, Any]) -> None:
        before = run(session, short(module), row, LOWERED)
        for name in names:
            check(name, before, run(session, module, row, sequence(name)))

    if names:
        holds()


def check(name: str, before: Run, after: Run) -> None:
    if before.error:
        return  # a failing row may fail elsewhere, or no more if what failed was not used
    assert after.error == "", f"{name}: {after.error}"
    assert after.value == before.value, name
    assert after.effects == before.effects, name
    extra = after.calls - before.calls
    assert not extra, f"{name} makes calls that the program does not make: {extra}"


@pytest.mark.parametrize("what", ["layout", "key"])
def test_a_pass_that_breaks_its_promise_is_found(session: Session, what: str) -> None:
    """Other prompts, or other draws: the checks above see both."""
    caught = 0

    @settings(law, max_examples=4)
    @given(programs(), inputs)
    def broken(module: Module, row: dict[str, Any]) -> None:
        nonlocal caught
        before = run(session, hot(short(module)) if what == "key" else short(module), row, LOWERED)
        for op in module.walk():
            if isinstance(op, prog.DefPredictor) and what == "layout":
                op.layout = "json"
            elif isinstance(op, prog.Predict) and what == "key":
                op.key = Key(("elsewhere", *op.key.path))
        try:
            check(what, before, run(session, module, row, LOWERED))
        except AssertionError:
            caught += 1

    broken()
    assert caught


def hot(module: Module) -> Module:
    """The same program, everything drawn."""
    for op in module.walk():
        if isinstance(op, prog.Predict):
            op.sampling = replace(op.sampling, temperature=1.0)
    return module


# -- gated --------------------------------------------------------------------------------------------------


def _fusing(module: Module) -> Pass | None:
    """Two calls that may become one, if there are."""
    for found in call_sites(module):
        for pair in itertools.combinations(found, 2):
            if not why_not(list(pair), module, LONGEST):
                names = tuple(c.predictor.name for c in pair)
                if sorted(c.predictor.name for c in found if c.predictor.name in names) == sorted(names):
                    return FuseCalls(names)
    return None


EXAMPLES: dict[str, Callable[[Module], Pass | None]] = {
    "layout": lambda module: Layout(_turned(module)),
    "fuse-calls": _fusing,
}
"""Of each gated pass, one that changes something in a generated module, or None if none does."""


def _turned(module: Module) -> tuple[tuple[str, str], ...]:
    """Every predictor's inputs in front, the other way round."""
    out = []
    for op in module.body.ops:
        if isinstance(op, prog.DefPredictor):
            instruction, demos, *rest = own_blocks(op.signature)
            out.append((op.symbol, layout_in(op.layout, (demos, *rest[::-1], instruction), op.signature)))
    return tuple(out)


def test_every_gated_pass_is_tried_here() -> None:
    assert set(labelled(*LABELS)) == set(PASSES)
    assert set(EXAMPLES) == set(labelled("G"))


@pytest.mark.parametrize("name", labelled("G"))
@pytest.mark.parametrize("examples", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_gated_passes_run_with_a_record_only(session: Session, name: str, examples: int) -> None:
    changed = 0

    @settings(law, max_examples=examples)
    @given(programs(), inputs)
    def holds(module: Module, row: dict[str, Any]) -> None:
        nonlocal changed
        item = EXAMPLES[name](short(module))
        assume(item is not None)
        assert item is not None
        text = str(module)
        options = RunOptions(crash_dir=None, round_trip=True)
        with pytest.raises(CompileError, match="has not been tested on held-out rows"):
            Pipeline((item,)).run(module, PassContext(), options)
        assert str(module) == text, "a pass that may not run changes nothing"
        record = judge([1.0] * 20, [1.0] * 20, change=write_pass(item))
        Pipeline((item,)).run(module, PassContext(gates=(record,)), options)
        changed += str(module) != text
        found = run(session, module, row, LOWERED)
        function = module.lookup("program")
        assert isinstance(function, prog.Func)
        if not found.error:
            assert mismatch(found.value, function.returns) is None

    holds()
    assert changed
