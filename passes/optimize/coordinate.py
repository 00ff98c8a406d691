"""Coordinate search: one parameter after another gets the value that scores highest on the select split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lampc.ir import Assignment
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem


class CoordinateSearch:
    """A search under way, for the optimizer `name`.

    `choices` are the values of each parameter, `current(candidate, parameter)` is the one that it has, `note(parameter,
    value)` the line of a candidate in the history. The current value stays unless another scores higher; of those that
    tie above it the least by `prefer` wins, then the earliest. `rounds` passes are made over the parameters, fewer if
    one changes nothing.
    """

    def __init__(
        self,
        name: str,
        problem: Problem,
        choices: Mapping[str, Sequence[Any]],
        current: Callable[[Assignment, str], Any],
        note: Callable[[str, Any], str],
        rounds: int,
        prefer: Callable[[Any], int] = lambda value: 0,
    ) -> None:
        self.name, self.problem, self.choices, self.rounds = name, problem, choices, rounds
        self._current, self._note, self._prefer = current, note, prefer
        self.order = list(choices)
        self.best = problem.start
        self.history: list[Candidate] = []
        self._at, self._round, self._changed = 0, 0, False
        self._values: list[Any] = []
        self._scores: list[float] = []
        self._asked = 0
        self.done = False
        self._enter()

    def _enter(self) -> None:
        """Take up parameter `_at` of this round, or the next one that has a choice."""
        while True:
            if self._at == len(self.order):
                self._at, self._round = 0, self._round + 1
                if not self._changed or self._round >= self.rounds:
                    self.done = True
                    return
                self._changed = False
            self._values = self._offered(self.order[self._at])
            self._scores, self._asked = [], 0
            if len(self._values) > 1:
                return
            self._at += 1

    def _offered(self, parameter: str) -> list[Any]:
        """The current value, then the others."""
        return list(dict.fromkeys([self._current(self.best, parameter), *self.choices[parameter]]))

    def _candidate(self, value: Any) -> Assignment:
        return self.best.updated(**{self.order[self._at]: value})

    def ask(self, n: int) -> list[Job]:
        if self.done:
            return []
        rows, split = self.problem.select_rows(), self.problem.select_split
        first, self._asked = self._asked, min(len(self._values), self._asked + n)
        wanted = enumerate(self._values[first : self._asked], first)
        return [EvaluateJob(self._candidate(v) if i else self.best, split, rows) for i, v in wanted]

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, EvaluateJob) or not isinstance(result, EvaluateResult):
            raise OptimizeError(f"{self.name} asked for scores, not for {type(job).__name__}")
        note = self._note(self.order[self._at], self._values[len(self._scores)])
        self._scores.append(result.mean)
        self.history.append(Candidate(job.assignment, self.name, note, result.mean))
        if len(self._scores) == len(self._values):
            self._settle()

    def _settle(self) -> None:
        top = max(self._scores)
        if top > self._scores[0]:
            tied = [v for v, s in zip(self._values, self._scores, strict=True) if s == top]
            self.best = self._candidate(min(tied, key=self._prefer))
            self._changed = True
        self._at += 1
        self._enter()

    def demand(self) -> Demand:
        if self.done:
            return Demand()
        others = [len(self._offered(n)) - 1 for n in self.order]  # the current value has been scored by then
        now = len(self._values) - len(self._scores)
        least = now + sum(others[self._at + 1 :])
        again = sum(others) * (self.rounds - self._round - 1)
        rows = self.problem.select_size
        return Demand(least * rows, (least + again) * rows)
