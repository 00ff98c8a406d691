"""Optimizers written as generators: they yield the jobs that they wait for, and are sent the results.

Such an optimizer is a fold all the same: only results move it, so a run that is replayed ends in the same place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import Protocol, TypeAlias, TypeVar

from lampc.ir import Assignment
from lampc.passes.optimize.jobs import Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError

_MANY = 4096
_T = TypeVar("_T")
Stages: TypeAlias = Generator[Sequence[Job], Sequence[Result], _T]
"""Yields jobs that may run together, is sent their results in that order, and returns what came of it."""


class Fold(Protocol):
    """What asks for jobs and is told results until it is done: an optimizer, or a proposer at work."""

    @property
    def done(self) -> bool: ...

    def ask(self, n: int) -> list[Job]: ...

    def tell(self, job: Job, result: Result) -> None: ...


def together(folds: Sequence[Fold]) -> Stages[None]:
    """Bring several folds to their end, what they ask for all at once."""
    while open_ := [f for f in folds if not f.done]:
        asked = [(f, job) for f in open_ for job in f.ask(_MANY)]
        if not asked:
            raise OptimizeError("a part of an optimizer asks for nothing and is not done: a bug of that part")
        results = yield [job for _, job in asked]
        for (fold, job), result in zip(asked, results, strict=True):
            fold.tell(job, result)


class Staged(ABC):
    """The ask/tell face of `stages`, which begin with the first `ask`, `tell` or look at `done`."""

    def __init__(self, best: Assignment) -> None:
        self.best = best
        self.history: list[Candidate] = []
        self._stages: Stages[None] | None = None
        self._done = False
        self._pending: Sequence[Job] = ()
        self._asked = 0
        self._results: list[Result] = []

    @abstractmethod
    def stages(self) -> Stages[None]:
        """The algorithm. It keeps `best` and `history` as it goes."""

    @abstractmethod
    def demand(self) -> Demand:
        """What is still to be asked for."""

    @property
    def done(self) -> bool:
        self._begin()
        return self._done

    def ask(self, n: int) -> list[Job]:
        self._begin()
        if self._asked > len(self._results):
            return []
        jobs = list(self._pending[self._asked : self._asked + n])
        self._asked += len(jobs)
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        if len(self._results) >= self._asked or self._pending[len(self._results)] != job:
            raise OptimizeError(f"a {type(job).__name__} was told that is not the next of those asked for")
        self._results.append(result)
        if len(self._results) == len(self._pending):
            self._advance(self._results)

    def _begin(self) -> None:
        if self._stages is None:
            self._stages = self.stages()
            self._advance(None)

    def _advance(self, results: list[Result] | None) -> None:
        assert self._stages is not None
        try:
            jobs = self._stages.send(results) if results is not None else next(self._stages)
            while not jobs:
                jobs = self._stages.send([])
        except StopIteration:
            self._done, jobs = True, ()
        self._pending, self._asked, self._results = jobs, 0, []
