"""Optimizers in three stages: sets of demos are made, instructions proposed, then combinations of them tried."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from lampc.ir import Assignment
from lampc.passes.optimize.demo_sets import DemoSets
from lampc.passes.optimize.jobs import Job, Result
from lampc.passes.optimize.proposers.protocol import Drafting, Proposer, Wish
from lampc.passes.optimize.protocol import Candidate, Demand, Problem
from lampc.passes.optimize.staged import Fold

Texts = dict[str, list[str]]
"""Proposed instructions by the symbol of their predictor."""


class Trials(Fold, Protocol):
    """The last stage."""

    @property
    def best(self) -> Assignment: ...

    @property
    def history(self) -> list[Candidate]: ...

    def demand(self) -> Demand: ...


S = TypeVar("S", bound=Trials)


class Combining(ABC, Generic[S]):
    """A run under way; `search` is its last stage, once there. A subclass calls `_step` when it is made.

    A stage is left when all that it asked for has been told, so that nothing is told to the one after it.
    """

    def __init__(self, problem: Problem, sets: DemoSets, proposer: Proposer) -> None:
        self.problem = problem
        self.search: S | None = None
        self._sets, self._proposer = sets, proposer
        self._wishes: list[Wish] = []
        self._drafting: Drafting | None = None
        self._due = 0

    @property
    def done(self) -> bool:
        return self.search is not None and self.search.done

    @property
    def best(self) -> Assignment:
        return self.search.best if self.search is not None else self.problem.start

    @property
    def history(self) -> list[Candidate]:
        return self.search.history if self.search is not None else []

    @property
    def _stage(self) -> Fold:
        return self.search or self._drafting or self._sets

    def ask(self, n: int) -> list[Job]:
        jobs = self._stage.ask(n)
        self._due += len(jobs)
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        self._due -= 1
        self._stage.tell(job, result)
        self._step()

    def demand(self) -> Demand:
        if self.search is not None:
            return self.search.demand()
        if self._drafting is not None:
            return self._of_trials() + Demand(calls=self._drafting.calls())
        proposing = Demand(calls=self._proposer.calls(self.problem, self._wished()))
        return self._of_trials() + self._sets.demand() + proposing

    def _step(self) -> None:
        if self._drafting is None:
            if not self._sets.done or self._due:
                return
            self._wishes = list(self._wish())
            self._drafting = self._proposer.begin(self.problem, self._wishes)
        if self.search is None and self._drafting.done and not self._due:
            texts: Texts = {}
            for wish, text in zip(self._wishes, self._drafting.texts, strict=True):
                texts.setdefault(wish.predictor.symbol, []).extend([text] if text else [])
            self.search = self._begin(texts, self._drafting)

    @abstractmethod
    def _of_trials(self) -> Demand:
        """What the last stage will ask for."""

    @abstractmethod
    def _wished(self) -> int:
        """How many instructions will be wanted of the proposer."""

    @abstractmethod
    def _wish(self) -> Iterable[Wish]:
        """What is to be proposed, once the sets of demos are there."""

    @abstractmethod
    def _begin(self, texts: Texts, drafting: Drafting) -> S:
        """The last stage. Raises OptimizeError if there is nothing to choose from."""
