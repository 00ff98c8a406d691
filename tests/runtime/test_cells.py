"""What is run again and what is not: upstream work, equal cells of several trials, programs of plain Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, Unit
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import (
    EvaluateJob,
    EvaluateResult,
    InstructionSearch,
    Job,
    Problem,
    Result,
)
from lampc.runtime.cells import CellTable
from lampc.runtime.driver import optimize
from lampc.runtime.evaluation.rows import called_on
from lampc.runtime.metrics import build_metric
from lampc.runtime.optimized import OptimizeResult
from lampc.runtime.optimizers.base import improve
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Cell, Row

CHAIN = """
signature First(text: str) -> (gist: str) { "Say it." }
signature Second(text: str, gist: str) -> (label: str) { "Judge it." }
module Main(text: str) -> (label: str) {
  use first = Predict(First);
  use second = Predict(Second);
  let one = first(text: text);
  let two = second(text: text, gist: one.gist);
  return (label: two.label);
}
"""
ROWS = [Row(str(i), {"text": f"t{i}"}, {"label": f"l{i % 2}"}) for i in range(8)]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    set_default_runner(None)
    settings.reset()


class Model:
    """Replies of an engine, counted by predictor."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, prompt: str) -> str:
        second = prompt.rstrip().count("gist:") > 0
        self.calls["second" if second else "first"] += 1
        return f"label: l{len(prompt) % 2}" if second else f"gist: g{len(prompt) % 3}"

    def engine(self) -> FakeEngine:
        return FakeEngine(self, max_running=4)


def unit() -> Unit:
    found = compile_lmp(CHAIN)
    return found.unit if hasattr(found, "unit") else found


@dataclass(frozen=True)
class Tries:
    """Scores candidates that change one predictor's instruction, `q` at a time, all of them or those of `rows`."""

    name: ClassVar[str] = "tries"
    predictor: str = "second"
    texts: tuple[str, ...] = ()
    q: int = 1
    rows: tuple[int, ...] = ()

    def begin(self, problem: Problem) -> Trying:
        return Trying(self, problem)


@dataclass
class Trying:
    options: Tries
    problem: Problem
    best: Assignment = field(init=False)
    scores: list[float] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.best = self.problem.start

    @property
    def done(self) -> bool:
        return len(self.scores) == len(self.options.texts)

    @property
    def history(self) -> list[Any]:
        return []

    def ask(self, n: int) -> list[Job]:
        texts = self.options.texts[self.asked : self.asked + self.options.q]
        self.asked += len(texts)
        name, rows = f"{self.options.predictor}.instruction", self.options.rows or self.problem.select_rows()
        return [EvaluateJob(self.problem.start.updated(**{name: t}), self.problem.select_split, rows) for t in texts]

    def tell(self, job: Job, result: Result) -> None:
        assert isinstance(job, EvaluateJob)
        assert isinstance(result, EvaluateResult)
        self.scores.append(result.mean)
        self.best = job.assignment if result.mean >= max(self.scores) else self.best

    def demand(self) -> Any:
        from lampc.passes.optimize import Demand

        left = (len(self.options.texts) - len(self.scores)) * len(self.options.rows or self.problem.select_rows())
        return Demand(left, left)


def tried(model: Model, *steps: Any, store: Store | None = None, **more: Any) -> OptimizeResult:
    with Session(model=model.engine(), store=store) as session:
        return optimize(
            unit(), session, steps=steps, train=ROWS, select=ROWS, metric=build_metric("exact_match"), program="Main",
            **more,
        )  # fmt: skip


def test_what_a_candidate_leaves_untouched_upstream_is_not_run_again() -> None:
    model = Model()
    result = tried(model, Tries("second", ("A.", "B.", "C.")))
    assert result.runs == 4 * len(ROWS)
    assert model.calls["first"] == len(ROWS)  # once for all candidates
    assert model.calls["second"] == 4 * len(ROWS)
    assert result.usage.calls == 2 * result.runs
    assert result.usage.stored_calls == 3 * len(ROWS)


def test_what_hangs_on_a_changed_predictor_is_run_again_only_where_its_answer_changed() -> None:
    model = Model()
    result = tried(model, Tries("first", ("A.", "B.")))
    assert model.calls["first"] == 3 * len(ROWS)
    assert model.calls["second"] == 2 * len(ROWS)  # both say the same gist
    assert result.runs == 3 * len(ROWS)


def test_upstream_work_of_plain_python_is_reused_too() -> None:
    class Chain(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = lampc.Predict("text -> gist", layout="compact")
            self.second = lampc.Predict("text, gist -> label", layout="compact")

        def forward(self, text: str) -> Any:
            try:
                return self.second(text=text, gist=self.first(text=text).gist)
            except ZeroDivisionError:
                return None

    model = Model()
    lampc.configure(model=model.engine())
    rows = [lampc.Example(**r.inputs, **r.labels).with_inputs("text") for r in ROWS]
    assert called_on(Chain(), rows)[0].dynamic is not None
    search = InstructionSearch(pool=("A.", "B."), predictors=("second",))
    found = improve(Chain(), search, trainset=rows, valset=rows, metric=lambda e, p, t=None: e.label == p.label)
    assert found.result.runs == 3 * len(ROWS)
    assert model.calls == {"first": len(ROWS), "second": 3 * len(ROWS)}


@pytest.mark.parametrize("q", [1, 2, 4])
def test_several_trials_in_flight_are_one_batch(q: int) -> None:
    batches: list[int] = []

    class Watched(Session):
        def run_cells(self, program: Any, cells: Any, *args: Any, **more: Any) -> Any:
            batches.append(len(cells))
            return super().run_cells(program, cells, *args, **more)

    texts = ("A.", "B.", "A.", "C.")
    with Watched(model=Model().engine()) as session:
        result = optimize(
            unit(), session, steps=[Tries("second", texts, q)], train=ROWS, select=ROWS,
            metric=build_metric("exact_match"), program="Main",
        )  # fmt: skip
    n = len(ROWS)
    assert batches == {1: [n, n, n, n], 2: [n, 2 * n, n], 4: [n, 3 * n]}[q]  # start, then what is new
    assert [t.cells for t in result.trials[1:5]] == ["c" * n, "c" * n, "r" * n, "c" * n]
    one = tried(Model(), Tries("second", texts, 1))
    assert [t.scores for t in result.trials] == [t.scores for t in one.trials]
    assert result.assignment == one.assignment


def test_a_cell_that_fails_is_a_scored_failure_with_its_trace() -> None:
    class Breaks(Model):
        def __call__(self, prompt: str) -> str:
            if "text: t3" in prompt and "gist:" in prompt and "Broken" in prompt:
                raise ValueError("no answer")
            return super().__call__(prompt)

    model = Breaks()
    result = tried(model, Tries("second", ("Broken.", "Fine."), 2))
    broken, fine = result.trials[1:3]
    assert (broken.errors, broken.scores[3], fine.errors) == (1, 0.0, 0)
    assert result.errors == 1
    assert not result.stopped
    assert result.table is not None
    (failed,) = [o for o in result.table.outcomes() if o.error is not None]
    assert [t.predictor for t in failed.trace] == ["first"]  # up to where it broke
    assert "no answer" in failed.error.message


# -- programs of plain Python ---------------------------------------------------------------------------------


class Plain(lampc.Module):
    def __init__(self, k: int = 1, helper: Any = None) -> None:
        super().__init__()
        self.k, self.helper = k, helper
        self.ask = lampc.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        try:
            return self.ask(question=question * self.k)
        except ZeroDivisionError:
            return None


def key(module: lampc.Module) -> str:
    rows = [lampc.Example(question="q").with_inputs("question")]
    made, (row,) = called_on(module, rows)
    assert made.dynamic is not None
    with Session(model=FakeEngine()) as session:
        return CellTable(session, made, made.entry).key(Cell(row))


def helps() -> int:
    return 1


def helps_more() -> int:
    return 2


def test_cells_of_equal_programs_are_equal_and_of_others_are_not() -> None:
    assert key(Plain()) == key(Plain())
    assert key(Plain(helper=helps)) == key(Plain(helper=helps))
    others = [Plain(), Plain(2), Plain(helper=helps), Plain(helper=helps_more), Plain(helper=object())]
    assert len({key(p) for p in others}) == 5
    warm = Plain()
    warm.ask.config = {"temperature": 0.5}
    assert key(warm) != key(Plain())


def test_cells_of_plain_python_are_the_same_in_another_process() -> None:
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")]), "OMP_NUM_THREADS": "1"}
    code = "from tests.runtime.test_cells import *; key(Plain(3)); print(key(Plain(2, helps)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, timeout=120)
    assert found.stdout.strip() == key(Plain(2, helps)), found.stderr


@pytest.mark.parametrize("kept", [True, False])
def test_models_that_are_asked_anew_are_asked_in_every_run(kept: bool) -> None:
    class Own(lampc.BaseLM):
        asked = 0

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            Own.asked += 1
            return "[[ ## answer ## ]]\nx"

    lampc.configure(lm=Own("own", cache=kept))
    rows = [lampc.Example(question=f"q{i}", answer="x").with_inputs("question") for i in range(3)]
    search = InstructionSearch(pool=("A.",))
    for _ in range(2):
        found = improve(
            lampc.Predict("question -> answer"), search, trainset=rows, valset=rows, metric=lambda e, p, t=None: True
        )
        assert found.result.runs == 6
        assert not found.result.again
    assert Own.asked == (6 if kept else 12)


def test_rows_of_both_splits_are_run_once() -> None:
    model = Model()
    lampc.configure(model=model.engine())
    rows = [lampc.Example(text=f"t{i}", gist="g").with_inputs("text") for i in range(6)]
    strategy = [Tries("predict", ("A.",)), Tries("predict", ("A.",), rows=(0, 1))]
    found = improve(
        lampc.Predict("text -> gist", layout="compact"),
        strategy,
        trainset=rows[:4],
        valset=rows[2:],
        metric=lambda e, p, t=None: True,
    )
    ids = [o.cell.row.id for o in found.result.table.outcomes()] if found.result.table else []
    assert sorted(ids) == ["2", "3", "6", "7"]  # the first two are training rows
    assert [t.cells for t in found.result.trials] == ["cccc", "rr"]
