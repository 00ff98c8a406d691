"""Runs optimizers: everything they ask for at once, each distinct run once, nothing lost.

The driver asks for all jobs that an optimizer can give, turns them into one table of cells, runs those that are
not known yet in one batch (prefix-shared across rows and candidates), and tells the results in the order asked.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, digest, freeze
from lampc.ir.unit import Unit
from lampc.passes.optimize import (
    TEACHER,
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
    Strategy,
)
from lampc.passes.optimize.protocol import Trades
from lampc.passes.optimize.racing import begin
from lampc.runtime.cells import UNLIMITED, Budget, BudgetSpent, NotStored, Spending
from lampc.runtime.failed_runs import hopeless, tell_failures
from lampc.runtime.journal import (
    FINISHED,
    STOPPED,
    UNFINISHED,
    Journal,
    assignment_text,
    begun,
    history_record,
    usage_record,
)
from lampc.runtime.metrics import MetricError, RowMetric
from lampc.runtime.optimized import Interrupted, OptimizeResult, restored, told_interrupted
from lampc.runtime.perform import Performer, Program, check_fusing, check_prices, label_of
from lampc.runtime.remaining import Remaining
from lampc.runtime.trials import Trial, trial_cut, trials_of
from lampc.runtime.types import Row, Usage

if TYPE_CHECKING:
    from lampc.runtime.session import Session

ASK = 4096
"""Most jobs asked for at a time."""


def problem_of(
    unit: Unit,
    train: Sequence[Row],
    select: Sequence[Row],
    program: str | None = None,
    start: Assignment | None = None,
    whole: bool = False,
    teacher: Program | None = None,
) -> Problem:
    """The problem as optimizers see it."""
    if teacher is not None:
        taught = problem_of(teacher.unit, train, select, teacher.entry, whole=whole)
        return replace(problem_of(unit, train, select, program, start, whole), teacher=taught)
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
    teacher: Program | None = None,
    embedders: Mapping[str, Any] | None = None,
    as_asked: bool = False,
    max_errors: int = 0,
) -> OptimizeResult:
    """Run `steps` one after another, starting from `start`; the best candidate on `select` is the result.

    What is finished is in `session.store` at once: the same call made again goes on where a killed process was, and
    gives the same result. `record` is where a readable `run.json` is kept, the program as found beside it. With
    `strict` a metric that raises ends the run. With `whole`, predictors that the program does not reach get
    parameters too. `teacher` is what jobs run that ask for one, `embedders` what gives vectors, by name. With
    `as_asked` nothing is scored but what the steps ask for, and what the last of them gives is the result. A row
    that fails is a scored failure; `max_errors` of them end the run (0: never). Raises OptimizeError, MetricError
    if `strict`, Interrupted, and the session's errors.
    """
    problem = problem_of(unit, train, select, program, start, whole, teacher)
    student = Program(unit, session, metric, problem.entry)
    with begun(record, problem.entry or unit.entry) as fresh:
        run = _Run(
            student, teacher, problem, {"train": train, "dev": select}, budget, strict, embedders, as_asked, max_errors
        )
        if budget.money:
            check_prices([p for p in (student, teacher) if p is not None])
        strategy = Compose(tuple(steps), gated=not as_asked)
        journal = Journal(session.store, run.identity(steps), run.about(steps), record)
        keeps = run.performer.keeps(problem)
        known = journal.finished() if keeps else None
        if known is not None:
            if not journal.told():
                journal.note(FINISHED, **known)
                journal.keep_found(unit, problem.start)
            run.replay(strategy)
            return restored(known, run.table)
        for step in steps:  # what refuses to begin leaves no record
            begin(step, problem)
        check_fusing(student, steps)
    earlier = {} if fresh else journal.earlier()
    journal.note(UNFINISHED)
    journal.keep_found(unit, problem.start)
    try:
        run.go(strategy, journal)
        if as_asked and not run.stopped:
            tell_failures(steps, run.performer.runs, list(run.errors.values()), run.proposals, run.lost)
    except (OptimizeError, MetricError):
        if not run.trials or hopeless(run.performer.runs, list(run.errors.values())):
            journal.withdraw(earlier)
        else:
            journal.note(UNFINISHED, ended=True, **run.facts())
        raise
    except KeyboardInterrupt:
        journal.note(UNFINISHED, ended=True, **run.facts())
        raise Interrupted(told_interrupted(run.spending.runs, session.store.path, session.unkept_tools)) from None
    facts = run.facts()
    if run.stopped:
        journal.note(STOPPED, **facts)
    else:
        journal.finish(keeps, **facts)
    return run.result()


class _Run:
    """One optimisation under way."""

    def __init__(
        self,
        student: Program,
        teacher: Program | None,
        problem: Problem,
        splits: Mapping[str, Sequence[Row]],
        budget: Budget,
        strict: bool,
        embedders: Mapping[str, Any] | None,
        as_asked: bool,
        max_errors: int,
    ) -> None:
        self.session, self.problem, self.splits = student.session, problem, splits
        self.student, self.teacher = student, teacher
        self.as_asked, self.max_errors = as_asked, max_errors
        self.spending = Spending(budget)
        self.performer = Performer(student, teacher, splits, self.spending, embedders, strict, not as_asked)
        self.table, self.errors = self.performer.table, self.performer.errors
        self.scores: dict[str, float] = {}  # of candidates that were scored on all of the select split
        self.started_as: Candidate | None = None
        self.trials: list[Trial] = []
        self.proposals = 0
        self.lost: list[str] = []  # why proposals failed
        self.history: list[Candidate] = []
        self.best: tuple[Assignment, float | None] = (problem.start, None)
        self.before: float | None = None
        self.embedders = {n: str(getattr(e, "identity", "")) for n, e in (embedders or {}).items()}
        self.stopped = ""
        self.remaining = Remaining()
        self.seconds = 0.0
        self._started = time.monotonic()

    # -- identity -----------------------------------------------------------------------------------

    def about(self, steps: Sequence[Strategy]) -> dict[str, Any]:
        data = {name: digest(freeze([[r.id, r.inputs, r.labels] for r in rows])) for name, rows in self.splits.items()}
        return {
            "program": self.problem.entry or self.student.unit.entry,
            "module": self.student.unit.module.digest(),
            "candidate": self.table.candidate(self.problem.start),
            "data": data,
            "metric": _identity(self.student.metric),
            "steps": [f"{s.name}: {s!r}" for s in steps],
            "pools": digest(freeze([_pool_text(s, self.problem) for s in steps])),
            "seed": self.session.seed,
            **({"whole": True} if self.problem.whole else {}),
            **({"as_asked": True} if self.as_asked else {}),
            **({} if self.teacher is None else {"teacher": self._taught_by(self.teacher)}),
            **({} if not self.embedders else {"embedders": self.embedders}),
        }

    def _taught_by(self, teacher: Program) -> list[str]:
        table = self.performer.tables[TEACHER]
        return [teacher.unit.module.digest(), table.candidate(Assignment()), _identity(teacher.metric)]

    def identity(self, steps: Sequence[Strategy]) -> str:
        """Everything that the result depends on."""
        return digest(freeze(self.about(steps)))

    def replay(self, strategy: Compose) -> None:
        """Read the cells of a finished run back into the table, as far as the store has them all."""
        with self.performer.offline(), contextlib.suppress(NotStored, OptimizeError, MetricError):
            self.go(strategy)

    # -- the loop -----------------------------------------------------------------------------------

    def go(self, strategy: Compose, journal: Journal | None = None) -> None:
        """Run to the end or until the budget is spent."""
        optimizer = strategy.begin(self.problem)
        names = [s.name for s in strategy.steps]
        try:
            if not self.as_asked:
                self._score(self.problem.start, "start")
            while not optimizer.done:
                self.remaining.look(optimizer)
                jobs = optimizer.ask(ASK)
                if not jobs:
                    raise OptimizeError("an optimizer asks for nothing and is not done: a bug of the optimizer")
                step = names[min(len(optimizer.ends), len(names) - 1)]
                results = self._perform(jobs, step)
                before = len(optimizer.cuts)
                for job, result in zip(jobs, results, strict=True):
                    optimizer.tell(job, result)
                self.trials += [trial_cut(step, j, self.performer.candidate(j)) for j in optimizer.cuts[before:]]
                self.history = self._merged(optimizer.history)
                if journal is not None and journal.due():
                    journal.note(UNFINISHED, **self.facts())
            if not self.as_asked:
                for step, assignment in optimizer.ends:
                    self._score(assignment, step)
                trade = next((s for s in reversed(strategy.steps) if isinstance(s, Trades)), None)
                stands = bool(strategy.steps) and getattr(strategy.steps[-1], "stands", False)
                self._choose([self.problem.start, *(a for _, a in optimizer.ends)], trade, stands)
        except BudgetSpent as e:
            self.stopped = e.limit  # `best` is the best that was scored
        self.history = self._merged(optimizer.history)
        if self.as_asked:
            self._take(optimizer.best)
        self.seconds = time.monotonic() - self._started

    def _choose(self, results: Sequence[Assignment], trade: Trades | None, stands: bool) -> None:
        """The best of the start and what the steps gave, by the trade if there is one; the earliest of those that
        tie. What the last step gave, if that has held it against what it began with by itself."""
        if not self.splits["dev"]:
            self.best = (results[-1], None)
            return
        if stands:
            self.best = (results[-1], self.scores[self.table.candidate(results[-1])])
            return
        scored = [(a, self.scores[self.table.candidate(a)]) for a in results]
        self.best = max(
            scored, key=lambda pair: pair[1] if trade is None else trade.worth(pair[1], self._cost(pair[0]))
        )

    def _cost(self, assignment: Assignment) -> float:
        """Mean tokens of a row of the select split, of a candidate scored on all. Rows that failed before anything
        was spent do not count; without others it is endless."""
        found = self.performer.finished(EvaluateJob(assignment, self.problem.select_split, self.problem.select_rows()))
        assert found is not None
        paid = [o.usage.tokens for o in found if o.error is None or o.usage.tokens]
        return sum(paid) / len(paid) if paid else math.inf

    def _take(self, result: Assignment) -> None:
        """What the last step gave, with its score if that step, or anything else, measured it."""
        measured = [c.score for c in self.history if c.assignment == result and c.score is not None]
        score = self.scores.get(self.table.candidate(result), measured[-1] if measured else None)
        self.best = (result, score)
        self.before = self.scores.get(self.table.candidate(self.problem.start))

    def _score(self, assignment: Assignment, step: str) -> None:
        rows = self.problem.select_rows()
        if not rows:
            return
        job = EvaluateJob(assignment, self.problem.select_split, rows)
        (result,) = self._perform([job], step)
        assert isinstance(result, EvaluateResult)
        if step == "start":
            self.before = result.mean
            self.started_as = Candidate(assignment, step, "the program as found", result.mean)
            failed = list(self.errors.values())
            if result.errors == len(rows) and hopeless(len(failed), failed):
                raise OptimizeError(f"every one of {len(rows)} rows failed; the first: {failed[0]}")

    def _perform(self, jobs: Sequence[Job], step: str) -> list[Result]:
        """Results of jobs, in their order; every cell they need is finished first, all in one batch."""
        label = ", ".join(dict.fromkeys(label_of(job) for job in jobs))
        name, wanted = f"{label} {self.spending.runs}", sum(len(j.rows) for j in jobs if isinstance(j, EvaluateJob))
        wanted += sum(isinstance(j, RunJob) for j in jobs)
        self.session.bus.emit("job.start", job=name, label=label, rows=wanted)

        def tell(done: int, total: int) -> None:
            u, best = self.spending.usage, {} if self.best[1] is None else {"best": self.best[1]}
            left = self.remaining.seconds(done, sum(t.fresh for t in self.performer.tables.values()))
            more = {**best, **({} if left is None else {"left": left})}
            self.session.bus.emit("progress", label=label, done=done, total=total, tokens=u.tokens, **more)

        self.proposals += sum(isinstance(job, CallJob) for job in jobs)
        results = self.performer.perform(jobs, tell)
        candidates = [self.performer.candidate(job) for job in jobs]
        made = trials_of(step, jobs, self.performer.states, results, candidates)
        seconds = round(time.monotonic() - self._started, 3)
        self.trials += [replace(t, seconds=seconds) for t in made]
        best = self.best[1]
        for job, candidate, result in zip(jobs, candidates, results, strict=True):
            if isinstance(job, EvaluateJob) and isinstance(result, EvaluateResult):
                if job.split != self.problem.select_split or job.rows != self.problem.select_rows():
                    continue
                self.scores.setdefault(candidate, result.mean)
                if self.best[1] is None or result.mean > self.best[1]:
                    self.best = (job.assignment, result.mean)
        self.session.bus.emit("job.end", job=name, label=label)
        if self.as_asked and self.best[1] is not None and self.best[1] != best:  # the start may not be scored before
            self.session.bus.emit("note", text=f"best score so far: {self.best[1]:.1f}")
        if self.performer.stopped:
            raise BudgetSpent(self.performer.stopped)
        if self.max_errors and len(self.errors) >= self.max_errors:
            last = list(self.errors.values())[-1]
            raise OptimizeError(f"{len(self.errors)} runs failed, as many as `max_errors` allows; the last: {last}")
        self.lost += [r.error for r in results if isinstance(r, CallResult) and r.error]
        finished = [r for r in results if r is not None]
        assert len(finished) == len(jobs)
        return finished

    # -- accounts -----------------------------------------------------------------------------------

    def _merged(self, history: Sequence[Candidate]) -> list[Candidate]:
        """Start, then what the optimizers tried, with the scores that were measured outside of them."""
        out = [] if self.started_as is None else [self.started_as]
        for c in history:
            measured = self.scores.get(self.table.candidate(c.assignment)) if c.score is None else None
            out.append(c if measured is None else replace(c, score=measured))
        return out

    def usage(self) -> Usage:
        return replace(self.spending.usage, seconds=round(self.seconds, 3))

    def facts(self) -> dict[str, Any]:
        return {
            "score_before": self.before,
            "score_after": self.best[1],
            "assignment": assignment_text(self.best[0]),
            "stopped": self.stopped,
            "history": history_record(self.history, self.table.candidate),
            "trials": [t.record() for t in self.trials],
            "runs": self.spending.runs,
            "proposals": self.proposals,
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
            self.spending.runs,
            sum(t.fresh for t in self.performer.tables.values()),
            len(self.errors),
            self.seconds,
            self.stopped,
            False,
            self.table,
            self.trials,
            self.proposals,
        )


def _identity(metric: RowMetric) -> str:
    return metric.identity or metric.name


def _pool_text(strategy: Strategy, problem: Problem) -> Any:
    """Texts that a step reads from files: the file's name alone does not identify a run."""
    read = getattr(strategy, "texts", None)
    return read(problem) if callable(read) else None
