"""Steps one after another, each starting from what the one before it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from lampc.ir import Assignment
from lampc.passes.optimize.jobs import Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, Optimizer, Problem, Strategy


@dataclass(frozen=True)
class Compose:
    """`steps` in order."""

    name: ClassVar[str] = "compose"
    steps: tuple[Strategy, ...] = ()

    def begin(self, problem: Problem) -> Composed:
        return Composed(self.steps, problem)


class Composed:
    """Steps under way; `ends` holds what each finished step gave."""

    def __init__(self, steps: Sequence[Strategy], problem: Problem) -> None:
        self._steps = tuple(steps)
        self._problem = problem
        self._past: list[Candidate] = []
        self.ends: list[tuple[str, Assignment]] = []
        self._current: Optimizer | None = None
        self._due = 0
        self._enter(problem.start)

    def _enter(self, start: Assignment) -> None:
        """Begin the next step; one that is done at once gives way to its successor."""
        while len(self.ends) < len(self._steps):
            self._current = self._steps[len(self.ends)].begin(replace(self._problem, start=start))
            if not self._current.done:
                return
            start = self._leave(self._current)
        self._current = None

    def _leave(self, step: Optimizer) -> Assignment:
        self._past += step.history
        self.ends.append((self._steps[len(self.ends)].name, step.best))
        return step.best

    @property
    def done(self) -> bool:
        return self._current is None

    @property
    def best(self) -> Assignment:
        if self._current is not None:
            return self._current.best
        return self.ends[-1][1] if self.ends else self._problem.start

    @property
    def history(self) -> list[Candidate]:
        return self._past + (list(self._current.history) if self._current else [])

    def ask(self, n: int) -> list[Job]:
        jobs = self._current.ask(n) if self._current and not self._current.done else []
        self._due += len(jobs)
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        assert self._current is not None
        self._due -= 1
        if not self._current.done:
            self._current.tell(job, result)
        if self._current.done and not self._due:  # what it asked for ahead of time is its own, used or not
            self._enter(self._leave(self._current))

    def demand(self) -> Demand:
        """What the current step and those after it will ask for, the latter as if they began now."""
        if self._current is None:
            return Demand()
        total = self._current.demand()
        for step in self._steps[len(self.ends) + 1 :]:
            total += step.begin(replace(self._problem, start=self._current.best)).demand()
        return total
