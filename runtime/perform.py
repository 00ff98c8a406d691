"""Does the jobs that optimizers ask for: runs of programs as one table of cells, proposals, vectors, training.

All that jobs want to run is finished first, every distinct cell once, in one batch for each program; then metrics
judge.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, freeze
from lampc.ir.adapters import bind_predictors
from lampc.ir.unit import Unit
from lampc.passes.optimize import (
    TEACHER,
    CallJob,
    EmbedJob,
    EvaluateJob,
    EvaluateResult,
    FeedbackJob,
    FeedbackResult,
    Fuse,
    Job,
    OptimizeError,
    Problem,
    Result,
    RunJob,
    RunResult,
    Strategy,
    TracedCall,
    TrainJob,
    TrainResult,
)
from lampc.runtime.budget import CANCELLED
from lampc.runtime.calling_off import CalledOff
from lampc.runtime.cells import BudgetSpent, CellTable, NotStored, Spending, spot_of
from lampc.runtime.evaluate import TRACED, UNTRACED, Asked, judge_outcomes
from lampc.runtime.metrics import Judgement, MetricError, RowMetric
from lampc.runtime.outside import Outside
from lampc.runtime.trials import COMPUTED, CUT, REUSED
from lampc.runtime.types import Cell, Outcome, Row, RowError

if TYPE_CHECKING:
    from lampc.runtime.session import Session


@dataclass(frozen=True)
class Program:
    """A program that jobs run: where, and what judges its runs. Its cells run inside of what `within` gives: settings
    that hold for it alone."""

    unit: Unit
    session: Session
    metric: RowMetric
    entry: str | None = None
    within: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext, repr=False)


class Performer:
    """Jobs in, results out. `tables` are the finished cells of each program, under the name that a RunJob has for it;
    `errors` the failures among them, `states` of the last jobs where each of their cells came from (letters of
    `lampc.runtime.trials`). `stopped` is the limit of the budget that ended the work, if one did."""

    def __init__(
        self,
        student: Program,
        teacher: Program | None,
        splits: Mapping[str, Sequence[Row]],
        spending: Spending,
        embedders: Mapping[str, Any] | None = None,
        strict: bool = False,
        lasting: bool = True,
    ) -> None:
        self.session, self.splits, self.spending, self.strict = student.session, splits, spending, strict
        self.programs = {"": student, **({TEACHER: teacher} if teacher is not None else {})}
        self.tables = {n: CellTable(p.session, p.unit, p.entry, spending, lasting) for n, p in self.programs.items()}
        self.table = self.tables[""]
        self.outside = Outside(student.session, student.unit.module, spending, embedders or {})
        self.errors: dict[str, RowError] = {}
        self.states: list[str] = []
        self.stopped = ""
        self._wanted: set[str] = set()
        self._judged: dict[Any, tuple[Judgement, RowError | None]] = {}
        self._offline = False

    @contextlib.contextmanager
    def offline(self) -> Any:
        """Inside of the block nothing is run: NotStored is raised for what is not in the store."""
        self._set_offline(True)
        try:
            yield
        finally:
            self._set_offline(False)

    def keeps(self, problem: Problem) -> bool:
        """Whether a later run of the same would find all of it finished."""
        starts = {"": problem.start, TEACHER: problem.teacher.start if problem.teacher is not None else Assignment()}
        return all(table.keeps(starts[name]) for name, table in self.tables.items())

    @property
    def runs(self) -> int:
        """Distinct runs that are finished, failed ones among them."""
        return sum(table.cells for table in self.tables.values())

    def _set_offline(self, value: bool) -> None:
        self._offline = self.outside.offline = value
        for table in self.tables.values():
            table.offline = value

    def perform(self, jobs: Sequence[Job], tell: Callable[[int, int], None]) -> list[Result | None]:
        """Results in the order of the jobs; None for what was left undone when the budget was spent. `tell` hears how
        many of all cells are finished, as each ends. Raises OptimizeError, NotStored, and MetricError if strict."""
        plans = [self._cells(job) for job in jobs]
        self.states = [self._came_from(name, cells) for name, cells in plans]
        results: list[Result | None] = [None] * len(jobs)
        try:
            self._run(plans, tell)
            self._perform_outside(jobs, results)
        except BudgetSpent as e:
            self.stopped = e.limit  # what is finished is judged all the same
        except CalledOff:
            self.stopped = CANCELLED
        if self.stopped:
            self.states = [self._cut(s, *plan) for s, plan in zip(self.states, plans, strict=True)]
        asked: list[tuple[str, Asked]] = []
        wanted: list[tuple[int, list[Outcome]]] = []
        for i, (job, (name, cells)) in enumerate(zip(jobs, plans, strict=True)):
            outcomes = self._finished(name, cells)
            if cells and outcomes is not None:
                wanted.append((i, outcomes))
                asked += [(name, (self.programs[name].metric, o, _about(job, o))) for o in outcomes]
        said = iter(self._judge(asked))
        for i, outcomes in wanted:
            judged = [next(said) for _ in outcomes]
            self._note(plans[i][0], outcomes, judged)
            results[i] = _result(jobs[i], outcomes, judged)
        return results

    def finished(self, job: EvaluateJob) -> list[Outcome] | None:
        """The outcomes of a job's cells; None if one is missing."""
        return self._finished(*self._cells(job))

    # -- cells ----------------------------------------------------------------------------------------

    def _cells(self, job: Job) -> tuple[str, list[Cell]]:
        """The program that a job runs, and on which cells."""
        match job:
            case EvaluateJob(assignment, split, rows):
                return "", [Cell(self._rows(split)[i], assignment) for i in rows]
            case FeedbackJob(run):
                return self._cells(run)
            case RunJob(assignment, split, row, rollout, temperature, program):
                if program not in self.programs:
                    raise OptimizeError(
                        f"a run of {program!r} is asked for, but this optimization has no such program: give one as "
                        "`teacher`"
                    )
                return program, [Cell(self._rows(split)[row], assignment, rollout, temperature)]
        return "", []

    def candidate(self, job: Job) -> str:
        """Identity of the parameters that a job runs a program with; empty if it runs none."""
        name, cells = self._cells(job)
        return self.tables[name].candidate(cells[0].assignment) if cells else ""

    def _came_from(self, name: str, cells: Sequence[Cell]) -> str:
        states = ""
        for cell in cells:
            key = self.tables[name].key(cell)
            states += REUSED if key in self._wanted else COMPUTED
            self._wanted.add(key)
        return states

    def _cut(self, states: str, name: str, cells: Sequence[Cell]) -> str:
        ended = [self.tables[name].get(c) is not None for c in cells]
        return "".join(s if there else CUT for s, there in zip(states, ended, strict=True))

    def _rows(self, split: str) -> Sequence[Row]:
        if split not in self.splits:
            raise OptimizeError(f"there is no split `{split}`; splits: {', '.join(self.splits)}")
        return self.splits[split]

    def _run(self, plans: Sequence[tuple[str, list[Cell]]], tell: Callable[[int, int], None]) -> None:
        todo: dict[str, dict[str, Cell]] = {name: {} for name in self.tables}
        for name, cells in plans:
            todo[name].update((self.tables[name].key(c), c) for c in cells)
        total = sum(map(len, todo.values()))
        done = sum(self.tables[n].get(c) is not None for n, part in todo.items() for c in part.values())

        def heard(_: Outcome) -> None:
            nonlocal done
            done += 1
            if not self._offline:
                tell(done, total)

        for name, part in todo.items():
            with self.programs[name].within():
                self.tables[name].run(list(part.values()), heard)

    def _finished(self, name: str, cells: Sequence[Cell]) -> list[Outcome] | None:
        outcomes = [self.tables[name].get(c) for c in cells]
        finished = [o for o in outcomes if o is not None]
        return finished if len(finished) == len(outcomes) else None

    def _note(
        self, name: str, outcomes: Sequence[Outcome], judged: Sequence[tuple[Judgement, RowError | None]]
    ) -> None:
        for outcome, (_, error) in zip(outcomes, judged, strict=True):
            if error is not None:
                self.errors.setdefault(self.tables[name].key(outcome.cell), error)
                if self.strict and error.kind == "metric":
                    raise MetricError(error.message, error.row)

    def _judge(self, asked: Sequence[tuple[str, Asked]]) -> list[tuple[Judgement, RowError | None]]:
        """What metrics say, each asked once about the same run of the same program."""
        spots = [(name, *spot_of(o.cell), about) for name, (_, o, about) in asked]
        todo = {spot: item for spot, (_, item) in zip(spots, asked, strict=True) if spot not in self._judged}
        made = judge_outcomes(self.session, list(todo.values()), self.spending.note)
        self._judged.update(zip(todo, made, strict=True))
        return [self._judged[spot] for spot in spots]

    # -- outside of programs --------------------------------------------------------------------------

    def _perform_outside(self, jobs: Sequence[Job], results: list[Result | None]) -> None:
        calls = [(i, j) for i, j in enumerate(jobs) if isinstance(j, CallJob)]
        for (i, _), found in zip(calls, self.outside.calls([j for _, j in calls]), strict=True):
            results[i] = found
        for i, job in enumerate(jobs):
            if isinstance(job, EmbedJob):
                results[i] = self.outside.embed(job)
            elif isinstance(job, TrainJob):
                results[i] = self._train(job)

    def _train(self, job: TrainJob) -> TrainResult:
        from importlib import import_module

        if self._offline:
            raise NotStored("a finished run is read back; nothing is trained for that")
        try:
            trainer = import_module("lampc.runtime.training")
        except ModuleNotFoundError:
            raise OptimizeError("models cannot be trained here: choose an optimizer that writes prompts") from None
        result: TrainResult = trainer.train(self.session, self.programs[""].unit.module, job)
        return result


def _about(job: Job, outcome: Outcome) -> int:
    """What the metric is asked about for a job."""
    if isinstance(job, RunJob):
        return TRACED if job.traced else UNTRACED
    if not isinstance(job, FeedbackJob):
        return UNTRACED
    calls = len(outcome.trace)
    if outcome.error is None and not 0 <= job.call < calls:
        raise OptimizeError(f"feedback on call {job.call} is asked for, and the run made {calls}")
    return job.call


def _result(job: Job, outcomes: Sequence[Outcome], judged: Sequence[tuple[Judgement, RowError | None]]) -> Result:
    if isinstance(job, EvaluateJob):
        failed = sum(e is not None for _, e in judged)
        return EvaluateResult(tuple(j.score for j, _ in judged), failed, tuple(o.usage.tokens for o in outcomes))
    (outcome,), ((said, error),) = outcomes, judged
    why = str(error) if error is not None else None
    if isinstance(job, FeedbackJob):
        return FeedbackResult(said.score, said.feedback, why)
    outputs = freeze(outcome.value) if outcome.value is not None else None
    return RunResult(
        said.score, _trace(outcome), why, said.feedback, freeze(dict(said.extra)), outputs, outcome.usage.tokens
    )  # fmt: skip


def _trace(outcome: Outcome) -> tuple[TracedCall, ...]:
    """Calls of a run in program order; last the one whose answer could not be read, if that ended it."""
    calls = [
        TracedCall(t.predictor, freeze(t.inputs), freeze(t.outputs), str(t.text), score=t.score) for t in outcome.trace
    ]
    if (t := outcome.unread) is not None and outcome.error is not None:
        calls.append(TracedCall(t.predictor, freeze(t.inputs), freeze({}), t.text, outcome.error.message))
    return tuple(calls)


def check_fusing(program: Program, steps: Sequence[Strategy]) -> None:
    """Raises OptimizeError if calls are to be fused by a step that is not the last, or for a model on this machine."""
    for i, step in enumerate(steps):
        if not isinstance(step, Fuse):
            continue
        if i + 1 < len(steps):
            raise OptimizeError(f"fuse goes last: `{steps[i + 1].name}` would tune predictors that are called no more")
        module = program.unit.module
        for bound in bind_predictors(module).values():
            if not step.local and program.session.target(module, bound.model).local:
                raise OptimizeError(
                    f"fuse: the model of `{bound.name}` is on this machine, which computes what prompts have in common "
                    "once in any case, so little is saved by asking for several answers at a time; `local: true` does "
                    "so nevertheless"
                )


def check_prices(programs: Sequence[Program]) -> None:
    """Raises OptimizeError if no model of the programs has a price: a budget of money would bound nothing."""
    names: dict[str, bool] = {}
    for p in programs:
        for bound in bind_predictors(p.unit.module).values():
            names[bound.model] = p.session.models.get(bound.model, p.unit.module).price is not None
    if not any(names.values()):
        raise OptimizeError(
            f"a budget of money needs prices, and no model ({', '.join(names)}) has one: say what a million tokens "
            "cost, lampc.LM(..., price=(prompt, completion)), or `price` among the options of the program's model"
        )


def label_of(job: Job) -> str:
    """What a job does, for progress."""
    return _LABELS[type(job).__name__]


_LABELS = {
    "EvaluateJob": "scoring candidates",
    "RunJob": "collecting traces",
    "FeedbackJob": "asking for feedback",
    "CallJob": "proposing",
    "EmbedJob": "embedding",
    "TrainJob": "training",
}


__all__ = ["Performer", "Program", "check_prices", "label_of"]
