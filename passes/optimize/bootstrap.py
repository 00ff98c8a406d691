"""BootstrapFewShot: demos out of the traces of a teacher's successful runs.

The algorithm is the sequential one: take training rows in order until enough of them succeeded; each has up to
`max_rounds` attempts, the first as the teacher is, later ones drawn anew. Here attempts are asked for ahead of
time, many at once: an attempt does not depend on any other, so its result may be had early and used late.
`_advance` walks the rows in training order, using results as the sequential algorithm would have made them, and
stops at the first that it lacks; what was asked for beyond the row where that algorithm ends is ignored. So the
outcome is equal, for at most a window of runs too many.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir import Assignment, Demo, Obj, digest, freeze
from lampc.passes.optimize.jobs import Job, Result, RunJob, RunResult, TracedCall
from lampc.passes.optimize.labeled import LabeledFewShot, demos_of, draw
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem, check_count

logger = logging.getLogger(__name__)

_COUNTS = ("max_bootstrapped_demos", "max_labeled_demos", "max_errors")


@dataclass(frozen=True)
class BootstrapFewShot:
    """Options as in DSPy.

    A run succeeds if the metric's score is at least `metric_threshold`, or, without one, not 0. The teacher is
    the program with `max_labeled_demos` labelled demos (never the row's own), run by `teacher_model` (a model
    symbol) if given; with `keep_demos` it has its own demos instead. Each predictor gets up to
    `max_bootstrapped_demos` traced demos, filled up to `max_labeled_demos` with labelled rows that were not
    bootstrapped. `max_errors` failing runs end the search with an error, and so does a search in which every run
    failed (0: never). `speculate` times the rows still needed are asked for at once, and more if many fail; 1 or less
    asks for nothing that could turn out unneeded.
    """

    name: ClassVar[str] = "bootstrap"
    max_bootstrapped_demos: int = 4
    max_labeled_demos: int = 16
    max_rounds: int = 1
    metric_threshold: float | None = None
    max_errors: int = 0
    teacher_model: str = ""
    speculate: float = 2.0
    seed: int = 0
    keep_demos: bool = False

    def begin(self, problem: Problem) -> Bootstrap:
        check_count(self.name, **{n: getattr(self, n) for n in _COUNTS})
        if self.max_rounds < 1:
            raise OptimizeError(f"{self.name}: `max_rounds` is {self.max_rounds}; at least one is needed")
        if not problem.train:
            raise OptimizeError(f"{self.name}: split `{problem.train_split}` has no rows to run")
        if self.teacher_model not in ("", "main") and problem.module.lookup(self.teacher_model) is None:
            raise OptimizeError(f"{self.name}: the program defines no model `{self.teacher_model}` for a teacher")
        return Bootstrap(self, problem)


class Bootstrap:
    """A bootstrap under way."""

    def __init__(self, options: BootstrapFewShot, problem: Problem) -> None:
        self.options = options
        self.problem = problem
        self.free = {p.symbol: p for p in problem.tunable("demos")}
        self._labeled = draw(LabeledFewShot(k=options.max_labeled_demos, seed=options.seed), problem)
        self._asked: set[tuple[int, int]] = set()
        self._results: dict[tuple[int, int], RunResult] = {}
        self._row, self._round, self._errors, self._used = 0, 0, 0, 0
        self._first_error = ""
        self.bootstrapped: list[int] = []
        self.traced: dict[str, list[Demo]] = {name: [] for name in self.free}
        self.history: list[Candidate] = []
        self.done = False
        self.best = problem.start
        self._advance()

    def ask(self, n: int) -> list[Job]:
        jobs: list[Job] = []
        last = min(len(self.problem.train), self._row + self._window())
        for row in range(self._row, last) if not self.done else ():
            attempt = self._next_attempt(row)
            if attempt is not None and len(jobs) < n:
                self._asked.add((row, attempt))
                jobs.append(RunJob(self.teacher(row), self.problem.train_split, row, attempt))
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, RunJob) or not isinstance(result, RunResult):
            raise OptimizeError(f"{self.options.name} asked for runs, not for {type(job).__name__}")
        self._results[job.row, job.rollout] = result
        self._advance()

    def demand(self) -> Demand:
        if self.done:
            return Demand()
        wanted = self.options.max_bootstrapped_demos - len(self.bootstrapped)
        rows = len(self.problem.train) - self._row
        return Demand(min(wanted, rows), rows * self.options.max_rounds - self._round)

    def teacher(self, row: int) -> Assignment:
        """The teacher that runs `row`: labelled demos or its own, none of them equal to the row itself."""
        train, own = self.problem.train, self.problem.train[row]
        if self.options.keep_demos:
            itself = Demo(freeze({**own.inputs, **own.labels}))
            demos = {
                name: [d for d in self.problem.demos(self.problem.start, p) if d not in (itself, own.demo(p.signature))]
                for name, p in self.free.items()
            }
        else:
            demos = {
                name: demos_of([train[i] for i in self._labeled[name] if train[i] != own], p.signature)
                for name, p in self.free.items()
            }
        made = self.problem.with_demos(self.problem.start, demos)
        if self.options.teacher_model:
            models = {f"{p.symbol}.model": self.options.teacher_model for p in self.problem.predictors()}
            made = made.updated(**models)
        return made

    # -- the fold -----------------------------------------------------------------------------------

    def _window(self) -> int:
        wanted = self.options.max_bootstrapped_demos - len(self.bootstrapped)
        tries = (self._row + 1) / (len(self.bootstrapped) + 1)
        ahead = max(self.options.speculate, tries) if self.options.speculate > 1 else 1
        return max(1, math.ceil(wanted * ahead))

    def _next_attempt(self, row: int) -> int | None:
        """The attempt at `row` to ask for now: the first unasked one, if all before it failed."""
        for attempt in range(self.options.max_rounds):
            if (row, attempt) not in self._asked:
                return attempt
            result = self._results.get((row, attempt))
            if result is None or self._succeeded(result):
                return None
        return None

    def _succeeded(self, result: RunResult) -> bool:
        if result.error is not None:
            return False
        threshold = self.options.metric_threshold
        return result.score >= threshold if threshold else bool(result.score)

    def _advance(self) -> None:
        while not self.done:
            if self._row == len(self.problem.train) or len(self.bootstrapped) == self.options.max_bootstrapped_demos:
                self._finish()
                return
            result = self._results.get((self._row, self._round))
            if result is None:
                return
            self._use(result)

    def _use(self, result: RunResult) -> None:
        self._used += 1
        if result.error is not None:
            self._errors += 1
            self._first_error = self._first_error or result.error
            if self._errors == self.options.max_errors:
                raise OptimizeError(
                    f"{self.options.name}: {self._errors} runs failed, the last on row {self._row} of "
                    f"`{self.problem.train_split}`: {result.error}"
                )
        if self._succeeded(result):
            self.bootstrapped.append(self._row)
            for name, demo in traced_demos(result.trace):
                if name in self.traced:
                    self.traced[name].append(demo)
        elif self._round + 1 < self.options.max_rounds:
            self._round += 1
            return
        self._row, self._round = self._row + 1, 0

    def _finish(self) -> None:
        """Traced demos, then labelled rows that were not bootstrapped."""
        self.done = True
        options, train = self.options, self.problem.train
        if options.max_errors and self._errors and self._errors == self._used:
            raise OptimizeError(
                f"{options.name}: every one of {self._used} runs failed; the first: {self._first_error}"
            )
        if self._errors:
            what = (options.name, self._errors, self._used, self._first_error)
            logger.warning("%s: %d of %d runs failed; the first: %s", *what)
        used = set(self.bootstrapped)
        pool = [i for i in range(len(train)) if i not in used]
        random.Random(options.seed).shuffle(pool)
        rng = random.Random(options.seed)
        demos: dict[str, list[Demo]] = {}
        for predictor in self.problem.predictors():  # a frozen one draws too: draws of the others stay the same
            traced = self.traced.get(predictor.symbol, [])[: options.max_bootstrapped_demos]
            size = max(0, min(options.max_labeled_demos - len(traced), len(pool)))
            raw = rng.sample(pool, size)
            if predictor.symbol in self.free:
                demos[predictor.symbol] = traced + demos_of([train[i] for i in raw], predictor.signature)
        self.best = self.problem.with_demos(self.problem.start, demos)
        note = f"{len(self.bootstrapped)} bootstrapped of {self._row} rows tried"
        self.history.append(Candidate(self.best, options.name, note))


def traced_demos(trace: Sequence[TracedCall]) -> list[tuple[str, Demo]]:
    """One demo per predictor of a run.

    Of several calls of a predictor, the last is kept half of the time, else one of the earlier ones; the choice
    depends on the demos alone.
    """
    calls: dict[str, list[Demo]] = {}
    for call in trace:
        values = Obj({**call.inputs, **call.outputs})
        calls.setdefault(call.predictor, []).append(Demo(values, augmented=True))
    out = []
    for name, demos in calls.items():
        chosen = demos[-1]
        if len(demos) > 1:
            rng = random.Random(digest(tuple(demos)))
            chosen = rng.choice(demos[:-1]) if rng.random() < 0.5 else demos[-1]
        out.append((name, chosen))
    return out
