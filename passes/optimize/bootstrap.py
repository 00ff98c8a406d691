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
from lampc.passes.optimize.bootstrap_options import BootstrapOptions
from lampc.passes.optimize.jobs import TEACHER, Job, Result, RunJob, RunResult, TracedCall
from lampc.passes.optimize.labeled import LabeledFewShot, demos_of, draw
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BootstrapFewShot(BootstrapOptions):
    """Options as in DSPy, see `BootstrapOptions`."""

    name: ClassVar[str] = "bootstrap"

    def begin(self, problem: Problem) -> Bootstrap:
        self.check(problem)
        return Bootstrap(self, problem)


class Bootstrap:
    """A bootstrap under way, over the training rows in `order` (places in the split; as they are if None)."""

    def __init__(self, options: BootstrapOptions, problem: Problem, order: Sequence[int] | None = None) -> None:
        self.options = options
        self.problem = problem
        self.order = tuple(range(len(problem.train))) if order is None else tuple(order)
        self._train = [problem.train[i] for i in self.order]
        self._place = {row: place for place, row in enumerate(self.order)}
        self._taught = problem.teacher or problem
        self._program = TEACHER if problem.teacher is not None else ""
        self.free = {p.symbol: p for p in problem.tunable("demos")}
        self._labeled = draw(
            LabeledFewShot(k=options.max_labeled_demos, seed=options.seed), self._taught, len(self._train)
        )
        shown = self._taught.shown_rows()
        self._shown = {place for place, row in enumerate(self.order) if row in shown}
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
        last = min(len(self._train), self._row + self._window())
        for row in (r for r in range(self._row, last) if r not in self._shown) if not self.done else ():
            attempt = self._next_attempt(row)
            if attempt is not None and len(jobs) < n:
                self._asked.add((row, attempt))
                jobs.append(self._run(row, attempt))
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, RunJob) or not isinstance(result, RunResult):
            raise OptimizeError(f"{self.options.name} asked for runs, not for {type(job).__name__}")
        self._results[self._place[job.row], job.rollout] = result
        self._advance()

    def demand(self) -> Demand:
        if self.done:
            return Demand()
        wanted = self.options.max_bootstrapped_demos - len(self.bootstrapped)
        rows = sum(r not in self._shown for r in range(self._row, len(self._train)))
        return Demand(min(wanted, rows), rows * self.options.max_rounds - self._round)

    def teacher(self, row: int) -> Assignment:
        """The teacher that runs `row`: labelled demos or its own, none of them equal to the row itself."""
        train, own, taught = self._train, self._train[row], self._taught
        free = taught.tunable("demos")
        if self.options.keep_demos:
            itself = Demo(freeze({**own.inputs, **own.labels}))
            demos = {
                p.symbol: [d for d in taught.demos(taught.start, p) if d not in (itself, own.demo(p.signature))]
                for p in free
            }
        else:
            demos = {
                p.symbol: demos_of([train[i] for i in self._labeled[p.symbol] if train[i] != own], p.signature)
                for p in free
            }
        made = taught.with_demos(taught.start, demos)
        if self.options.teacher_model:
            models = {f"{p.symbol}.model": self.options.teacher_model for p in taught.predictors()}
            made = made.updated(**models)
        return made

    def _run(self, place: int, attempt: int) -> RunJob:
        """An attempt; those after the first are drawn at temperature 1, or they would give what the first gave."""
        warm = 1.0 if attempt else None
        teacher, split = self.teacher(place), self.problem.train_split
        return RunJob(teacher, split, self.order[place], attempt, temperature=warm, program=self._program)

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
            if self._row == len(self._train) or len(self.bootstrapped) == self.options.max_bootstrapped_demos:
                self._finish()
                return
            if self._row in self._shown:
                self._row += 1
                continue
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
                    f"{self.options.name}: {self._errors} runs failed, the last on row {self.order[self._row]} of "
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
        options, train = self.options, self._train
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
