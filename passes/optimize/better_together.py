"""BetterTogether: several optimizers in turn, each from where the one before ended; the best of all stations.

Between the steps the training rows are shuffled. Unlike `Compose`, a step starts from what the last one gave even where
that scores lower: what one optimizer loses another may more than regain. Algorithm: DSPy 3.4,
`teleprompt/bettertogether.py`.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from lampc.ir import Assignment
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, FeedbackJob, Job, Result, RunJob
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Optimizer, Problem, Strategy
from lampc.passes.optimize.racing import begin

logger = logging.getLogger(__name__)

ARROW = "->"
DEFAULTS = {"p": "random_search", "w": "finetune"}
"""What steps are that nobody named otherwise: of prompts and of weights, as in DSPy."""
_HELD = "held out of the training rows"


@dataclass(frozen=True)
class BetterTogether:
    """`strategy` names the steps, `"p -> w -> p"`.

    Names are keys of `optimizers`, or else what source files call optimizers (`p` is `random_search`, `w` `finetune`);
    `options` are those of the latter, by name. Without select rows the first `valset_ratio` of the training rows are
    held out to compare stations; without any of these the last station is the result. `seed` shuffles the training rows
    before each step unless `shuffle` is off. A step that fails ends the sequence; the best so far stands. `base` is
    where relative paths of the steps start.
    """

    name: ClassVar[str] = "better_together"
    strategy: str = "p -> w -> p"
    optimizers: Any = field(default_factory=dict)
    options: Any = field(default_factory=dict)
    valset_ratio: float = 0.1
    shuffle: bool = True
    seed: int = 0
    base: Path = field(default=Path("."), repr=False)

    def begin(self, problem: Problem) -> Together:
        if not 0 <= self.valset_ratio < 1:
            raise OptimizeError(f"{self.name}: `valset_ratio` is {self.valset_ratio}; it is from 0 to below 1")
        if not problem.train:
            raise OptimizeError(f"{self.name}: split `{problem.train_split}` has no rows")
        return Together(self, problem, self.steps())

    def steps(self) -> list[tuple[str, Strategy]]:
        """The steps by name. Raises OptimizeError for an empty sequence and an unknown name."""
        from lampc.passes.optimize.registry import optimizer

        names = [n.strip() for n in self.strategy.split(ARROW)]
        if not all(names):
            raise OptimizeError(f'{self.name}: `strategy` is {self.strategy!r}; it names steps: "p -> w -> p"')
        given: Mapping[str, Strategy] = dict(self.optimizers)
        wrong = [n for n in dict(self.options) if n not in names]
        if wrong:
            raise OptimizeError(f"{self.name}: options for `{wrong[0]}`, which is no step of `{self.strategy}`")
        options = dict(self.options)
        return [
            (n, given[n] if n in given else optimizer(DEFAULTS.get(n, n), options.get(n, {}), self.base)) for n in names
        ]

    def texts(self, problem: Problem) -> list[Any]:
        """What the steps read from files."""
        return [s.texts(problem) for _, s in self.steps() if hasattr(s, "texts")]


class Together:
    """Steps under way; `stations` are the start and what each step gave, `failed` why the sequence ended early."""

    def __init__(self, options: BetterTogether, problem: Problem, steps: list[tuple[str, Strategy]]) -> None:
        self._options, self._problem, self._steps = options, problem, steps
        self._rng = random.Random(options.seed)
        held = 0 if problem.select_size else int(options.valset_ratio * len(problem.train))
        self._order = list(range(held, len(problem.train)))
        self._seen = replace(problem, select_size=held, select_split=_HELD) if held else problem
        self.stations = [Candidate(problem.start, options.name, "as it began")]
        self.failed = ""
        self._at = 0
        self._current: Optimizer | None = None
        self._due: deque[Job] = deque()
        self._scoring, self._asked = bool(self._seen.select_size), False
        self._past: list[Candidate] = []
        for _, strategy in steps:
            begin(strategy, self._view())  # what is set up wrongly is an error now, not the end of a sequence
        if not self._scoring:
            self._next()

    @property
    def done(self) -> bool:
        ended = self._at == len(self._steps) or bool(self.failed)
        return ended and self._current is None and not self._scoring and not self._due

    @property
    def best(self) -> Assignment:
        if not self._seen.select_size:
            return self.stations[-1].assignment
        return max(self.stations, key=lambda c: -1.0 if c.score is None else c.score).assignment

    @property
    def history(self) -> list[Candidate]:
        return [*self._past, *(self._current.history if self._current else ()), *self.stations]

    def ask(self, n: int) -> list[Job]:
        jobs: list[Job] = []
        if self._scoring and not self._asked:
            self._asked = True
            jobs = [EvaluateJob(self.stations[-1].assignment, self._seen.select_split, self._seen.select_rows())]
        elif self._current is not None and not self._current.done:
            jobs = self._current.ask(n)
        self._due.extend(jobs)
        return [self._outside(job) for job in jobs]

    def tell(self, job: Job, result: Result) -> None:
        own = self._due.popleft()
        if self._scoring:
            if not isinstance(result, EvaluateResult):
                raise OptimizeError(f"{self._options.name} asked for scores, not for {type(result).__name__}")
            tokens = sum(result.tokens) / len(result.tokens) if result.tokens else None
            scored = replace(self.stations[-1], score=round(result.mean, 2), rows=len(result.scores), tokens=tokens)
            self.stations[-1], self._scoring = scored, False
            self._next()
        elif self._current is not None:
            try:
                if not self._current.done:
                    self._current.tell(own, result)
            except OptimizeError as e:
                self._fail(e)
                return
            if self._current.done and not self._due:
                self._arrive(self._current)
                if not self._scoring:
                    self._next()

    def demand(self) -> Demand:
        """That of the step under way and of those after it, as if they began now."""
        stations = len(self._steps) - self._at + (self._current is not None) + self._scoring
        total = Demand(stations * self._seen.select_size, stations * self._seen.select_size)
        total += self._current.demand() if self._current is not None else Demand()
        for _, strategy in self._steps[self._at :] if not self.failed else ():
            total += begin(strategy, self._view()).demand()
        return total

    # -- from step to step --------------------------------------------------------------------------

    def _next(self) -> None:
        """Begin the next step; those that ask for nothing are done at once."""
        while self._at < len(self._steps) and not self.failed and not self._scoring:
            _, strategy = self._steps[self._at]
            self._at += 1
            if self._options.shuffle:
                self._rng.shuffle(self._order)
            try:
                step = begin(strategy, self._view())
            except OptimizeError as e:
                self._fail(e)
                return
            self._current = step
            if not step.done:
                return
            self._arrive(step)

    def _fail(self, error: OptimizeError) -> None:
        self.failed, self._current = str(error), None
        name, _ = self._steps[self._at - 1]
        logger.warning(
            "step %d of %d (`%s`) failed, the best so far stands: %s", self._at, len(self._steps), name, error
        )

    def _arrive(self, step: Optimizer) -> None:
        self._past += step.history
        self._current = None
        way = f" {ARROW} ".join(name for name, _ in self._steps[: self._at])
        self.stations.append(Candidate(step.best, self._options.name, way))
        self._scoring, self._asked = bool(self._seen.select_size), False

    def _view(self) -> Problem:
        """The problem as a step sees it: from the last station on, the training rows in their present order."""
        rows = tuple(self._problem.train[i] for i in self._order)
        return replace(self._seen, start=self.stations[-1].assignment, train=rows)

    def _outside(self, job: Job) -> Job:
        """A job that a step asked for, about rows as the whole problem counts them."""
        match job:
            case EvaluateJob(assignment, split, rows):
                places = [self._place(split, i) for i in rows]
                return EvaluateJob(assignment, places[0][0] if places else split, tuple(i for _, i in places))
            case RunJob():
                split, row = self._place(job.split, job.row)
                return replace(job, split=split, row=row)
            case FeedbackJob():
                run = self._outside(job.run)
                assert isinstance(run, RunJob)
                return replace(job, run=run)
        return job

    def _place(self, split: str, row: int) -> tuple[str, int]:
        if split == self._problem.train_split:
            return split, self._order[row]
        return (self._problem.train_split, row) if split == _HELD else (split, row)
