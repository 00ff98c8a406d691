"""BootstrapFewShotWithRandomSearch: many draws of demos, and the program that scores highest.

Candidate -3 has no demos, -2 labelled ones, -1 those of a bootstrap over the training rows as they stand, and
candidate s from 0 on those of a bootstrap over the rows shuffled with seed s, of which 1 to `max_bootstrapped_demos`
(drawn with seed s) are kept. No candidate depends on another, so all their bootstraps are asked for together, and
each is scored as soon as its demos are known. Algorithm and draws: DSPy 3.4, `teleprompt/random_search.py`.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace
from typing import ClassVar

from lampc.ir import Assignment
from lampc.passes.optimize.bootstrap import Bootstrap
from lampc.passes.optimize.bootstrap_options import BootstrapOptions
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.labeled import LabeledFewShot
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Optimizer, Problem, Settled, check_count
from lampc.passes.optimize.racing import OFF

ZERO_SHOT, LABELED, UNSHUFFLED = -3, -2, -1
_NOTES = {ZERO_SHOT: "no demos", LABELED: "labelled demos", UNSHUFFLED: "bootstrapped, rows as they stand"}


@dataclass(frozen=True)
class RandomSearch(BootstrapOptions):
    """Options as in DSPy; those of bootstrapping hold for every candidate.

    Candidates are scored on the select split, or on the training rows if that is empty; the first of the highest score
    (to two decimals, as DSPy rounds it) wins. `restrict` are the numbers of the candidates to make, all if None. With
    `stop_at_score` (0 to 100) candidates are made one after another, none beyond the first that reaches it. Under
    `racing` (`halving` or `bernstein`) they are scored once all are made, and those that fall behind are cut.
    """

    name: ClassVar[str] = "random_search"
    num_candidate_programs: int = 16
    stop_at_score: float | None = None
    restrict: tuple[int, ...] | None = None
    labeled_sample: bool = True
    racing: str = OFF

    def begin(self, problem: Problem) -> Search:
        self.check(problem)
        check_count(self.name, num_candidate_programs=self.num_candidate_programs)
        return Search(self, problem)

    def numbers(self) -> list[int]:
        """The candidates, in order. Raises OptimizeError if `restrict` leaves none."""
        every = range(ZERO_SHOT, self.num_candidate_programs)
        kept = [n for n in every if self.restrict is None or n in self.restrict]
        if not kept:
            raise OptimizeError(
                f"{self.name}: `restrict` is {list(self.restrict or ())}, and candidates are numbered from "
                f"{every.start} to {every.stop - 1}: none is left"
            )
        return kept


@dataclass(slots=True)
class Member:
    """A candidate: its number, where its demos come from, and once it is scored its score (0 to 100) and rows'."""

    number: int
    source: Optimizer
    asked: bool = False
    score: float | None = None
    subscores: tuple[float, ...] = ()
    tokens: float | None = None

    @property
    def assignment(self) -> Assignment:
        return self.source.best


class Search:
    """A search under way; `members` are its candidates in order."""

    def __init__(self, options: RandomSearch, problem: Problem) -> None:
        self._options, self._problem = options, problem
        self._split, self._rows = score_rows(problem)
        self.members = [Member(n, _source(options, problem, n)) for n in options.numbers()]
        self._owners: deque[Member] = deque()

    @property
    def done(self) -> bool:
        return not self._open()

    @property
    def scored(self) -> list[Member]:
        """The candidates that count, in order: those before and with the first that stops the search."""
        return [m for m in self.members[: self._end()] if m.score is not None]

    @property
    def best(self) -> Assignment:
        found = self.scored
        return max(found, key=lambda m: m.score or 0.0).assignment if found else self._problem.start

    @property
    def history(self) -> list[Candidate]:
        return [
            Candidate(m.assignment, self._options.name, _note(m.number), m.score, len(m.subscores), m.tokens)
            for m in self.scored
        ]

    def ask(self, n: int) -> list[Job]:
        jobs: list[Job] = []
        ready = self._options.racing == OFF or all(m.source.done for m in self._open())
        for member in self._open():
            before = len(jobs)
            if not member.source.done:
                jobs += member.source.ask(n - before)
            elif ready and not member.asked and before < n:
                member.asked = True
                jobs.append(EvaluateJob(member.assignment, self._split, self._rows))
            self._owners.extend([member] * (len(jobs) - before))
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        member = self._owners.popleft()
        if not isinstance(job, EvaluateJob):
            member.source.tell(job, result)
            return
        if not isinstance(result, EvaluateResult):
            raise OptimizeError(f"{self._options.name} asked for scores, not for {type(result).__name__}")
        member.score, member.subscores = round(result.mean, 2), result.scores
        member.tokens = sum(result.tokens) / len(result.tokens) if result.tokens else None

    def demand(self) -> Demand:
        """Exact but for the rows that bootstraps try, unless the search may stop early."""
        total = Demand()
        for i, member in enumerate(self._open(together=True)):
            own = member.source.demand() + Demand(len(self._rows), len(self._rows))
            certain = i == 0 or self._options.stop_at_score is None
            total += own if certain else Demand(0, own.most, own.calls)
        return total

    def _end(self) -> int:
        """How many candidates count."""
        stop = self._options.stop_at_score
        for i, member in enumerate(self.members):
            if stop is not None and member.score is not None and member.score >= stop:
                return i + 1
        return len(self.members)

    def _open(self, together: bool = False) -> list[Member]:
        """The candidates to work at now; with `together`, all that may still be worked at."""
        waiting = [m for m in self.members[: self._end()] if m.score is None]
        one_by_one = self._options.stop_at_score is not None and not together
        return waiting[:1] if one_by_one else waiting


def score_rows(problem: Problem) -> tuple[str, tuple[int, ...]]:
    """Where candidates are scored: the select split, or the training rows if it is empty."""
    if problem.select_size:
        return problem.select_split, problem.select_rows()
    return problem.train_split, tuple(range(len(problem.train)))


def _note(number: int) -> str:
    return _NOTES.get(number) or f"bootstrapped, seed {number}"


def _source(options: RandomSearch, problem: Problem, number: int) -> Optimizer:
    """Where the demos of a candidate come from."""
    if number == ZERO_SHOT:
        return Settled(problem.with_demos(problem.start, {p.symbol: () for p in problem.tunable("demos")}))
    if number == LABELED:
        return LabeledFewShot(options.max_labeled_demos, options.labeled_sample, options.seed).begin(problem)
    if number == UNSHUFFLED:
        return Bootstrap(options, problem)
    order, most = list(range(len(problem.train))), options.max_bootstrapped_demos
    random.Random(number).shuffle(order)
    size = random.Random(number).randint(1, most) if most else 0
    return Bootstrap(replace(options, max_bootstrapped_demos=size), problem, order)
