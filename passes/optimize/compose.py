"""Steps one after another, each starting from the best that those before it found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lampc.ir import Assignment
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, Optimizer, Problem, Strategy, Trades
from lampc.passes.optimize.racing import Raced, begin


@dataclass(frozen=True)
class Compose:
    """`steps` in order. What a step found is passed on unless it scores lower on the select split than what the
    step started from; with `gated` off, without rows to select on, and of a step that trades score for something or has
    held its result against what it began with by itself (`stands`), it is passed on in any case."""

    name: ClassVar[str] = "compose"
    steps: tuple[Strategy, ...] = ()
    gated: bool = True

    def begin(self, problem: Problem) -> Composed:
        return Composed(self, problem)


class Composed:
    """Steps under way; `ends` holds what each finished step gave."""

    def __init__(self, options: Compose, problem: Problem) -> None:
        self._options, self._problem = options, problem
        self._past: list[Candidate] = []
        self._cuts: list[EvaluateJob] = []
        self.ends: list[tuple[str, Assignment]] = []
        self._kept = problem.start
        self._current: Optimizer | None = None
        self._due = 0
        self._rivals: list[Assignment] = []  # what the last step started from and what it gave, to be compared
        self._asked = 0
        self._scores: list[float] = []
        self._next()

    @property
    def done(self) -> bool:
        return self._current is None and not self._rivals

    @property
    def best(self) -> Assignment:
        return self._current.best if self._current is not None else self._kept

    @property
    def history(self) -> list[Candidate]:
        return self._past + (list(self._current.history) if self._current else [])

    @property
    def cuts(self) -> list[EvaluateJob]:
        """Scores that steps asked for and that were not run, because their candidates fell behind in a race."""
        return self._cuts + (self._current.cuts if isinstance(self._current, Raced) else [])

    @property
    def comparing(self) -> bool:
        """Whether what is asked for now compares a step's result with what the step began with."""
        return bool(self._rivals)

    def step_demand(self) -> Demand:
        """What the step under way will still ask for."""
        return self._current.demand() if self._current is not None else Demand()

    def ask(self, n: int) -> list[Job]:
        if self._rivals:
            rows, split = self._problem.select_rows(), self._problem.select_split
            wanted = self._rivals[self._asked : self._asked + n]
            self._asked += len(wanted)
            return [EvaluateJob(a, split, rows) for a in wanted]
        jobs = self._current.ask(n) if self._current and not self._current.done else []
        self._due += len(jobs)
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        if self._rivals:
            assert isinstance(result, EvaluateResult)
            self._scores.append(result.mean)
            if len(self._scores) == len(self._rivals):
                before, after = self._scores
                self._pass_on(self._rivals[after >= before])
            return
        assert self._current is not None
        self._due -= 1
        if not self._current.done:
            self._current.tell(job, result)
        if self._current.done and not self._due:  # what it asked for ahead of time is its own, used or not
            self._leave(self._current)

    def demand(self) -> Demand:
        """What the current step and those after it will ask for, the latter as if they began now."""
        total = self.step_demand()
        for step in self._options.steps[len(self.ends) + (self._current is not None) :]:
            total += begin(step, replace(self._problem, start=self.best)).demand()
        return total

    # -- from step to step --------------------------------------------------------------------------

    def _next(self) -> None:
        if len(self.ends) == len(self._options.steps):
            return
        step = begin(self._options.steps[len(self.ends)], replace(self._problem, start=self._kept))
        self._current = step
        if step.done:
            self._leave(step)

    def _leave(self, step: Optimizer) -> None:
        self._past += step.history
        self._cuts += step.cuts if isinstance(step, Raced) else []
        self.ends.append((self._options.steps[len(self.ends)].name, step.best))
        self._current = None
        options = self._options.steps[len(self.ends) - 1]
        last = (
            len(self.ends) == len(self._options.steps)
            or isinstance(options, Trades)
            or getattr(options, "stands", False)
        )
        if last or not self._options.gated or not self._problem.select_size or step.best == self._kept:
            self._pass_on(step.best)
        else:
            self._rivals, self._scores, self._asked = [self._kept, step.best], [], 0

    def _pass_on(self, assignment: Assignment) -> None:
        self._rivals = []
        self._kept = assignment
        self._next()
