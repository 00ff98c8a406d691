"""The main job: optimise a program on the bundled model, and measure what that gained and what it cost.

Every program run goes through one table of cells, so a demo that was killed goes on where it was: no finished
call is computed twice. The comparison with the same tuned program row by row is measured in the same process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lampc.ir import Assignment
from lampc.ir.adapters import adapter, bind_predictors, bind_prompt
from lampc.passes.optimize import RandomDemos
from lampc.runtime.cells import CellTable
from lampc.runtime.driver import optimize, problem_of
from lampc.runtime.evaluate import score_outcome
from lampc.runtime.optimized import OptimizeResult
from lampc.runtime.plan import prefix_bound
from lampc.runtime.report import DemoReport
from lampc.runtime.saved import save
from lampc.runtime.session import Session
from lampc.runtime.setup import Task, reseeded
from lampc.runtime.store import Store
from lampc.runtime.types import Cell, Outcome, Row, Usage

RANDOM_SEEDS = 5
"""How many draws of random demos the tuned program is compared with."""
FEWEST_RANDOM = 4
"""A tuned program without demos is compared with this many: with none there would be nothing to compare."""


@dataclass(slots=True)
class Side:
    """Scores of one candidate, row by row, each 0 to 1."""

    dev: list[float]
    test: list[float]


@dataclass(slots=True)
class Timed:
    """The tuned program on the test rows: what it cost, and what it answered."""

    usage: Usage
    seconds: float
    answers: list[Any]
    nodes: dict[str, Usage] = field(default_factory=dict)


@dataclass(slots=True)
class DemoRun:
    """All that a demo found; each random draw has `random_count` demos.

    `again` is set if it had been finished before; then only `report` is filled.
    """

    report: DemoReport
    result: OptimizeResult
    before: Side
    after: Side
    random: list[Side] = field(default_factory=list)
    random_count: int = 0
    shared: Timed | None = None
    naive: Timed | None = None
    resumed: bool = False
    again: bool = False


Say = Callable[[str], None]


def run_demo(
    task: Task,
    base: Path,
    out: Path,
    *,
    model: Any = None,
    seed: int = 0,
    session: Session | None = None,
    stage: Say = lambda text: None,
) -> DemoRun:
    """Optimise, evaluate on the unseen test split, compare with random demos and with running row by row.

    Files go to `out`: `journal.store`, `run.json`, `tuned.lampc`, `report.json`. `stage` hears which part begins.
    `session`, if given, brings its own store. Raises what the driver and the session raise.
    """
    if session is not None:
        return _Demo(task, base, out, model, seed, session, stage).run()
    with (
        Store(out / "journal.store") as store,
        Session(model=model, base=base, store=store, seed=seed) as made,
    ):
        return _Demo(task, base, out, model, seed, made, stage).run()


class _Demo:
    def __init__(self, task: Task, base: Path, out: Path, model: Any, seed: int, session: Session, stage: Say) -> None:
        self.task, self.base, self.out = reseeded(task, seed) if seed else task, base, out
        self.model, self.seed, self.session, self.stage = model, seed, session, stage
        self.table = CellTable(session, task.unit, task.program)
        self.resumed = bool(session.store.count("job"))

    def run(self) -> DemoRun:
        started = time.perf_counter()
        task = self.task
        self.stage("optimise")
        result = optimize(
            task.unit,
            self.session,
            steps=task.steps,
            train=task.train,
            select=task.select,
            metric=task.metric,
            program=task.program,
            start=task.start,
            budget=task.budget,
            record=self.out / "run.json",
        )
        if result.table is not None:
            self.table = result.table
        best, test = result.assignment, task.splits.get("test", [])
        self.stage("unseen rows")
        bound_best = bind_predictors(task.unit.module, best)
        k = max((len(b.demos.items) for b in bound_best.values()), default=0) or FEWEST_RANDOM
        drawn = [self._random(k, s) for s in range(RANDOM_SEEDS)]
        sides = self._sides([task.start, best, *drawn], task.select, test)
        seconds = time.perf_counter() - started
        usage = self.table.usage
        bound = self.session.bound() if not self.resumed else self._bound()
        self.stage("row by row")
        shared, naive = self._timed(best, test, together=True), self._timed(best, test, together=False)
        before, after, random = sides[0], sides[1], sides[2:]
        report = DemoReport(
            dev_before=_mean([before.dev]),
            dev_after=_mean([after.dev]),
            test_before=_mean([before.test]),
            test_after=_mean([after.test]),
            dev_random_demos=_mean([s.dev for s in random]),
            test_random_demos=_mean([s.test for s in random]),
            calls=usage.calls,
            prompt_tokens=usage.prompt_tokens,
            prompt_tokens_computed=usage.computed_tokens,
            prompt_tokens_bound=bound or 0,
            seconds=seconds,
            prompt_tokens_naive=naive.usage.computed_tokens,
            seconds_naive=naive.seconds,
            prompt_tokens_shared=shared.usage.computed_tokens,
            seconds_shared=shared.seconds,
            prompt_tokens_stored=usage.stored_tokens,
        )
        save(self.out / "tuned.lampc", task.unit, best, {"dev": report.dev_after, "test": report.test_after})
        report.write(self.out / "report.json")
        return DemoRun(report, result, before, after, random, k, shared, naive, self.resumed)

    def _random(self, k: int, seed: int) -> Assignment:
        task = self.task
        problem = problem_of(task.unit, task.train, task.select, task.program, task.start)
        return RandomDemos(k=k, seed=1000 * self.seed + seed).begin(problem).best

    def _sides(self, candidates: Sequence[Assignment], dev: Sequence[Row], test: Sequence[Row]) -> list[Side]:
        """Scores of all candidates on both splits; all cells run in one batch."""
        plans = [[Cell(r, a) for r in (*dev, *test)] for a in candidates]
        flat = [c for plan in plans for c in plan]
        done = sum(self.table.get(c) is not None for c in flat)

        def heard(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            self.session.bus.emit("progress", label="unseen rows, random demos", done=done, total=len(flat))

        self.table.run(flat, heard)
        sides = []
        for plan in plans:
            outcomes = [self.table.get(c) for c in plan]
            scores = [score_outcome(self.task.metric, o)[0] for o in outcomes if o is not None]
            sides.append(Side(scores[: len(dev)], scores[len(dev) :]))
        return sides

    def _timed(self, best: Assignment, rows: Sequence[Row], *, together: bool) -> Timed:
        """The tuned program in a session of its own: all rows at once with sharing, or one by one without."""
        task = self.task
        with Session(model=self.model, base=self.base, seed=self.seed, prefix_cache=together) as session:
            warm = task.train[:1]
            session.run(task.unit, warm, entry=task.program, assignment=best)  # loads the model, fills caches of code
            before, nodes = session.usage, session.usage_by_node
            started = time.perf_counter()
            parts = [list(rows)] if together else [[r] for r in rows]
            answers: list[Any] = []
            for n, part in enumerate(parts, 1):
                outcomes = session.run(task.unit, part, entry=task.program, assignment=best)
                answers += [o.value for o in outcomes]
                if not together:
                    self.session.bus.emit("progress", label="row by row", done=n, total=len(parts))
            seconds = time.perf_counter() - started
            used = {n: u - nodes.get(n, Usage()) for n, u in session.usage_by_node.items()}
            return Timed(session.usage - before, seconds, answers, used)

    def _bound(self) -> int:
        """The bound of all finished cells, from their traces: what a resumed run did not compute itself counts too."""
        task, prompts = self.task, set()
        for outcome in self.table.outcomes():
            bound = bind_predictors(task.unit.module, outcome.cell.assignment)
            for step in outcome.trace:
                b = bound[step.predictor]
                target = self.session.models.get(b.model, task.unit.module).target
                if target.tokens is None:
                    return 0
                prompt = adapter(b.layout).render(b.signature, b.name)
                values = [step.inputs.get(f.name) for f in b.signature.inputs]
                turns = bind_prompt(prompt, b, values, target.quote)
                prompts.add(tuple(target.tokens.encode(target.render_chat(turns))))
        return prefix_bound(prompts)


def _mean(sides: Sequence[Sequence[float]]) -> float:
    values = [v for side in sides for v in side]
    return 100.0 * sum(values) / len(values) if values else 0.0


def new_input(task: Task) -> Row:
    """A row that the optimiser never saw: the last one of the test split, else of the one it selected on."""
    return (task.splits.get("test") or task.select)[-1]
