"""Runs optimizers: everything they ask for at once, each distinct run once, nothing lost.

The driver asks for all jobs that an optimizer can give, turns them into one table of cells, runs those that are
not known yet in one batch (prefix-shared across rows and candidates), and tells the results in the order asked.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, DemoSet, Draw, Key, Obj, digest, freeze, thaw
from lampc.ir.adapters import Bound
from lampc.ir.unit import Unit
from lampc.passes.optimize import (
    CallJob,
    CallResult,
    Candidate,
    Compose,
    EvaluateJob,
    EvaluateResult,
    Example,
    Job,
    OptimizeError,
    Problem,
    Result,
    RunJob,
    RunResult,
    Strategy,
    TracedCall,
)
from lampc.runtime.cells import UNLIMITED, Budget, BudgetSpent, CellTable, NotStored
from lampc.runtime.evaluate import score_outcomes
from lampc.runtime.journal import (
    STOPPED,
    UNFINISHED,
    Journal,
    assignment_text,
    history_record,
    usage_record,
)
from lampc.runtime.metrics import MetricError, RowMetric
from lampc.runtime.optimized import Interrupted, OptimizeResult, restored
from lampc.runtime.rounds import read_calls
from lampc.runtime.types import Cell, Outcome, Row, RowError, Usage

if TYPE_CHECKING:
    from lampc.runtime.session import Session

ASK = 4096
"""Most jobs asked for at a time."""


_PROPOSER = "optimizer"
_MENDABLE = ("parse", "assert")
"""Kinds of failures that other demos or instructions may do away with."""


def problem_of(
    unit: Unit,
    train: Sequence[Row],
    select: Sequence[Row],
    program: str | None = None,
    start: Assignment | None = None,
    whole: bool = False,
) -> Problem:
    """The problem as optimizers see it."""
    examples = tuple(Example(r.inputs, r.labels) for r in train)
    entry = program or unit.entry or None
    return Problem(unit.module, examples, len(select), start or Assignment(), entry, whole=whole)


def optimize(
    unit: Unit,
    session: Session,
    *,
    steps: Sequence[Strategy],
    train: Sequence[Row],
    select: Sequence[Row],
    metric: RowMetric,
    program: str | None = None,
    start: Assignment | None = None,
    budget: Budget = UNLIMITED,
    record: Path | None = None,
    strict: bool = False,
    whole: bool = False,
) -> OptimizeResult:
    """Run `steps` one after another, starting from `start`; the best candidate on `select` is the result.

    What is finished is in `session.store` at once: the same call made again goes on where a killed process was,
    and gives the same result. `record` is where a readable `run.json` is kept. With `strict` a metric that
    raises ends the run. With `whole`, predictors that the program does not reach get parameters too. Raises
    OptimizeError, MetricError if `strict`, Interrupted, and the session's errors.
    """
    problem = problem_of(unit, train, select, program, start, whole)
    run = _Run(unit, session, problem, {"train": train, "dev": select}, metric, budget, strict)
    journal = Journal(session.store, run.identity(steps), run.about(steps), record)
    known = journal.finished()
    if known is not None:
        run.replay(Compose(tuple(steps)))
        return restored(known, run.table)
    journal.note(UNFINISHED)
    try:
        run.go(Compose(tuple(steps)), journal)
    except KeyboardInterrupt:
        journal.note(UNFINISHED, **run.facts())
        where = session.store.path or "memory"
        raise Interrupted(
            f"interrupted: {run.table.cells} finished runs are kept in {where}; the same command goes on from there"
        ) from None
    facts = run.facts()
    if run.stopped:
        journal.note(STOPPED, **facts)
    else:
        journal.finish(**facts)
    return run.result()


class _Run:
    """One optimisation under way."""

    def __init__(
        self,
        unit: Unit,
        session: Session,
        problem: Problem,
        splits: Mapping[str, Sequence[Row]],
        metric: RowMetric,
        budget: Budget,
        strict: bool,
    ) -> None:
        self.unit, self.session, self.problem, self.splits = unit, session, problem, splits
        self.metric, self.strict = metric, strict
        self.table = CellTable(session, unit, problem.entry, budget)
        self.scores: dict[str, tuple[Candidate, float]] = {}
        self.history: list[Candidate] = []
        self.best: tuple[Assignment, float | None] = (problem.start, None)
        self.before: float | None = None
        self.errors: dict[str, RowError] = {}
        self.stopped = ""
        self.seconds = 0.0
        self._started = time.monotonic()

    # -- identity -----------------------------------------------------------------------------------

    def about(self, steps: Sequence[Strategy]) -> dict[str, Any]:
        data = {name: digest(freeze([[r.id, r.inputs, r.labels] for r in rows])) for name, rows in self.splits.items()}
        return {
            "program": self.problem.entry or self.unit.entry,
            "module": self.unit.module.digest(),
            "candidate": self.table.candidate(self.problem.start),
            "data": data,
            "metric": self.metric.identity or self.metric.name,
            "steps": [f"{s.name}: {s!r}" for s in steps],
            "pools": digest(freeze([_pool_text(s, self.problem) for s in steps])),
            "seed": self.session.seed,
            **({"whole": True} if self.problem.whole else {}),
        }

    def identity(self, steps: Sequence[Strategy]) -> str:
        """Everything that the result depends on."""
        return digest(freeze(self.about(steps)))

    def replay(self, strategy: Compose) -> None:
        """Read the cells of a finished run back into the table, as far as the store has them all."""
        self.table.offline = True
        with contextlib.suppress(NotStored, OptimizeError, MetricError):
            self.go(strategy)
        self.table.offline = False

    # -- the loop -----------------------------------------------------------------------------------

    def go(self, strategy: Compose, journal: Journal | None = None) -> None:
        """Run to the end or until the budget is spent."""
        optimizer = strategy.begin(self.problem)
        try:
            self._score(self.problem.start, "start", "the program as found")
            while not optimizer.done:
                jobs = optimizer.ask(ASK)
                if not jobs:
                    raise OptimizeError("an optimizer asks for nothing and is not done: a bug of the optimizer")
                results = self._perform(jobs)
                for job, result in zip(jobs, results, strict=True):
                    optimizer.tell(job, result)
                self.history = self._merged(optimizer.history)
                if journal is not None:
                    journal.note(UNFINISHED, **self.facts())
            for step, assignment in optimizer.ends:
                self._score(assignment, step, "result of this step")
            self._choose([self.problem.start, *(a for _, a in optimizer.ends)])
        except BudgetSpent as e:
            self.stopped = e.limit  # `best` is the best that was scored
        self.history = self._merged(optimizer.history)
        self.seconds = time.monotonic() - self._started

    def _choose(self, results: Sequence[Assignment]) -> None:
        """The best of the start and what the steps gave; the earliest of those that tie."""
        if not self.splits["dev"]:
            self.best = (results[-1], None)
            return
        scored = [(a, self.scores[self.table.candidate(a)][1]) for a in results]
        self.best = max(scored, key=lambda pair: pair[1])

    def _score(self, assignment: Assignment, step: str, note: str) -> None:
        rows = self.problem.select_rows()
        if not rows:
            return
        job = EvaluateJob(assignment, self.problem.select_split, rows)
        (result,) = self._perform([job])
        assert isinstance(result, EvaluateResult)
        if step == "start":
            self.before = result.mean
            failed = list(self.errors.values())
            if result.errors == len(rows) and not any(e.kind in _MENDABLE for e in failed):
                raise OptimizeError(f"every one of {len(rows)} rows failed; the first: {failed[0]}")
        self.scores.setdefault(
            self.table.candidate(assignment), (Candidate(assignment, step, note, result.mean), result.mean)
        )

    def _perform(self, jobs: Sequence[Job]) -> list[Result]:
        """Results of jobs, in their order; every cell they need is finished first, all in one batch."""
        plans = [self._cells(job) for job in jobs]
        label = ", ".join(dict.fromkeys(_label(job) for job in jobs))
        cells = list({self.table.key(c): c for plan in plans for c in plan}.values())
        done = sum(self.table.get(c) is not None for c in cells)
        name = f"{label} {self.table.cells}"
        self.session.bus.emit("job.start", job=name, label=label, rows=len(cells))

        def heard(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            u = self.table.usage
            best = {} if self.best[1] is None else {"best": self.best[1]}
            tokens = u.prompt_tokens + u.generated_tokens
            if self.table.offline:
                return
            self.session.bus.emit("progress", label=label, done=done, total=len(cells), tokens=tokens, **best)

        stop: BudgetSpent | None = None
        try:
            self.table.run(cells, heard)
        except BudgetSpent as e:
            stop = e
        wanted = [job for job in jobs if isinstance(job, CallJob)] if stop is None else []
        proposals = iter(self._proposals(wanted))
        results: list[Result] = []
        found = [self._finished(plan) for plan in plans]
        asked = [(o, isinstance(j, RunJob) and j.traced) for j, os in zip(jobs, found, strict=True) for o in os or ()]
        scores = iter(score_outcomes(self.session, self.metric, asked))
        for job, outcomes in zip(jobs, found, strict=True):
            if isinstance(job, CallJob):
                results += [next(proposals)] if wanted else []
            elif outcomes is not None and isinstance(job, EvaluateJob | RunJob):
                results.append(self._result(job, outcomes, [next(scores) for _ in outcomes]))
        self.session.bus.emit("job.end", job=name, label=label)
        if stop is not None:
            raise stop
        return results

    def _cells(self, job: Job) -> list[Cell]:
        match job:
            case EvaluateJob(assignment, split, rows):
                return [Cell(self.splits[split][i], assignment) for i in rows]
            case RunJob(assignment, split, row, rollout):
                return [Cell(self.splits[split][row], assignment, rollout)]
            case CallJob():
                return []
        raise OptimizeError(f"the driver cannot do a {type(job).__name__} yet")

    def _finished(self, plan: Sequence[Cell]) -> list[Outcome] | None:
        """The outcomes of a job's cells; None if one is missing, which is so only when the budget is spent."""
        outcomes = [self.table.get(c) for c in plan]
        finished = [o for o in outcomes if o is not None]
        return finished if len(finished) == len(outcomes) else None

    def _result(
        self,
        job: EvaluateJob | RunJob,
        outcomes: Sequence[Outcome],
        scored: Sequence[tuple[float, RowError | None]],
    ) -> Result:
        for outcome, (_, error) in zip(outcomes, scored, strict=True):
            if error is not None:
                self.errors.setdefault(self.table.key(outcome.cell), error)
                if self.strict and error.kind == "metric":
                    raise MetricError(error.message, error.row)
        if isinstance(job, RunJob):
            (outcome,), ((score, error),) = outcomes, scored
            trace = tuple(TracedCall(t.predictor, freeze(t.inputs), freeze(t.outputs)) for t in outcome.trace)
            return RunResult(score, trace, str(error) if error else None)
        result = EvaluateResult(tuple(s for s, _ in scored), sum(e is not None for _, e in scored))
        if len(job.rows) == self.problem.select_size and (self.best[1] is None or result.mean > self.best[1]):
            self.best = (job.assignment, result.mean)
        return result

    def _proposals(self, jobs: Sequence[CallJob]) -> list[CallResult]:
        """Answers to calls outside of the program, made together; finished ones are in the store."""
        calls = []
        for job in jobs:
            key = digest((job.signature, job.inputs, job.sampling, job.layout))
            bound = Bound(_PROPOSER, job.signature, job.signature.instruction, DemoSet(), job.layout, job.model)
            draw = Draw(self.session.seed, Key((_PROPOSER, key)), (), "", job.number)
            calls.append((bound, thaw(job.inputs), job.sampling, draw))
        results = []
        for found in read_calls(self.session, calls):
            outputs = freeze(found.outputs) if found.error is None else Obj()
            results.append(CallResult(outputs, found.text, str(found.error) if found.error is not None else None))
        return results

    # -- accounts -----------------------------------------------------------------------------------

    def _merged(self, history: Sequence[Candidate]) -> list[Candidate]:
        """Start, then what the optimizers tried, with the scores that were measured outside of them."""
        known = self.scores
        out = [c for c, _ in known.values() if c.step == "start"]
        for c in history:
            measured = known.get(self.table.candidate(c.assignment))
            out.append(replace(c, score=measured[1]) if c.score is None and measured else c)
        return out

    def usage(self) -> Usage:
        return replace(self.table.usage, seconds=round(self.seconds, 3))

    def facts(self) -> dict[str, Any]:
        return {
            "score_before": self.before,
            "score_after": self.best[1],
            "assignment": assignment_text(self.best[0]),
            "history": history_record(self.history),
            "runs": self.table.cells,
            "errors": len(self.errors),
            "failures": [str(e) for e in list(self.errors.values())[:20]],
            "usage": usage_record(self.usage()),
            "seconds": round(self.seconds, 3),
        }

    def result(self) -> OptimizeResult:
        return OptimizeResult(
            self.best[0],
            self.before,
            self.best[1],
            self.history,
            self.usage(),
            self.table.cells,
            self.table.fresh,
            len(self.errors),
            self.seconds,
            self.stopped,
            False,
            self.table,
        )


def _pool_text(strategy: Strategy, problem: Problem) -> Any:
    """Texts of the pools that a step reads from files: the file's name alone does not identify a run."""
    from lampc.passes.optimize import InstructionSearch

    if not isinstance(strategy, InstructionSearch):
        return None
    return strategy.texts(problem)


def _label(job: Job) -> str:
    return {"EvaluateJob": "scoring candidates", "RunJob": "collecting traces"}.get(type(job).__name__, "proposing")
