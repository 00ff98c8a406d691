"""No block leaks and no hold is left over, however a run of a program ends: random programs on caches that are too
small (rows are put back, requests preempted), with tools that fail, steps that fail, runs cut short, deadlines."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from program_bench.measure import run
from program_bench.script import Rule
from program_bench.workload import Workload

from lampc.backend.plan import Plan
from lampc.backend.simulated import SimulatedEngine
from lampc.runtime.cache import CallCache
from lampc.runtime.rehearsal import RehearsedModel
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Outcome
from tests.test_kv_plan import BLOCK, drawn, engine

AGENT = """tool broken(seconds: str, text: str) -> str = python("tests.kv_tools:broken");
signature Act(question: str, steps: list[str]) -> (thought: str) { \"\"\"Think, look, think again.\"\"\" }
module Main(question: str) -> (answer: str) {
  use act = Predict(Act);
  loop (steps: [], answer: "") max 5 {
    let turn = act(question: question, steps: steps);
    let seen = broken("0.1", turn.thought);
    next (steps: steps + [turn.thought, seen], answer: turn.thought) until len(steps) > 6;
  }
  return (answer: answer);
}
"""


def agent(seed: int) -> Workload:
    rows = tuple({"question": f"number {i} " * 12} for i in range(8))
    return Workload("agent", "mixed", AGENT, rows, {"act": Rule({"": 5})}, seed, 1.0)


class Failing:
    """Some steps of the engine raise."""

    def __init__(self, core: SimulatedEngine, steps: set[int], error: BaseException) -> None:
        self._inner: Any = core._runner
        self._steps, self._error, self.count = steps, error, 0
        core._runner = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "launch":
            raise AttributeError(name)
        return getattr(self._inner, name)

    def execute(self, plan: Plan) -> Sequence[Any]:
        self.count += 1
        if self.count in self._steps:
            raise self._error
        drawn: Sequence[Any] = self._inner.execute(plan)
        return drawn


def tight(work: Workload, draw: random.Random) -> SimulatedEngine:
    """An engine that holds a little more than the longest request."""
    ample = run(work, engine(), None)
    blocks = -(-ample.longest // BLOCK) + 2 + draw.randint(0, 6)
    return engine(blocks * BLOCK, max_batch_tokens=draw.choice([16, 64, 512]), max_running=draw.choice([2, 5, 64]))


def nothing_left(core: SimulatedEngine) -> None:
    core.check()
    assert not core._pins.cursors()
    assert core._tree.locked_blocks == 0
    assert not core._jobs
    core.reset_cache()
    assert core.stats().used_blocks == 0
    core.check()


def outcomes(work: Workload, core: SimulatedEngine, stop_after: int = 0) -> list[Outcome]:
    """All rows, or as many as end before somebody who hears of them gives up."""
    model = RehearsedModel(core, "main", work.script(core.tokenizer))

    def heard(index: int, outcome: Outcome) -> None:
        nonlocal stop_after
        stop_after -= 1
        if not stop_after:
            raise KeyboardInterrupt

    cells = [cell for batch in work.cells() for cell in batch]
    session = Session(model=model, seed=work.seed, store=Store(None), cache=CallCache())
    try:
        return session.run_cells(work.unit, cells, on_done=heard)
    finally:
        session.desk.abort()
        nothing_left(core)


@pytest.mark.parametrize("seed", range(6))
def test_small_caches(seed: int) -> None:
    draw, work = random.Random(seed), drawn(seed)
    wanted = [o.value for o in outcomes(work, engine())]
    assert None not in wanted
    assert [o.value for o in outcomes(work, tight(work, draw))] == wanted


@pytest.mark.parametrize("seed", range(3))
def test_tools_that_fail(seed: int) -> None:
    draw, work = random.Random(seed), agent(seed)
    found = outcomes(work, tight(work, draw))
    assert any(o.error for o in found)
    assert [(o.value, str(o.error)) for o in found] == [(o.value, str(o.error)) for o in outcomes(work, engine())]


@pytest.mark.parametrize("seed", range(4))
def test_steps_that_fail(seed: int) -> None:
    """Alone, a request is to blame, and its row fails; the others end as ever."""
    draw, work = random.Random(seed), drawn(seed)
    core = tight(work, draw)
    wanted = [o.value for o in outcomes(work, engine())]
    Failing(core, set(draw.sample(range(1, 40), 6)), RuntimeError("device"))
    found = [o.value for o in outcomes(work, core)]
    assert all(value in (None, good) for value, good in zip(found, wanted, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_runs_that_are_cut_short(seed: int) -> None:
    draw, work = random.Random(seed), drawn(seed)
    with pytest.raises(KeyboardInterrupt):
        outcomes(work, tight(work, draw), stop_after=draw.randint(1, 3))
    core = tight(work, draw)
    Failing(core, {draw.randint(2, 20)}, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        outcomes(work, core)


def test_requests_that_are_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline ends a call halfway, and with it the row."""
    from lampc.runtime import local

    plain, draw, work = local.request_of, random.Random(0), drawn(3)
    core = tight(work, draw)

    def hasty(*args: Any) -> Any:
        return replace(plain(*args), deadline=core.clock_s + draw.choice([5.0, 1000.0]))

    monkeypatch.setattr(local, "request_of", hasty)
    found = outcomes(work, core)
    assert any(o.error is not None and "timeout" in str(o.error) for o in found)
