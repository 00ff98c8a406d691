"""Several sets of demos to choose from, as DSPy draws them for MIPROv2: none, labelled, bootstrapped, and bootstrapped
from shuffled rows.

No draw depends on a result, so all bootstraps are under way at once, and what they want is asked for together.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace

from lampc.ir import Demo
from lampc.ir.prog import DefPredictor
from lampc.passes.optimize.bootstrap import Bootstrap, BootstrapFewShot
from lampc.passes.optimize.jobs import Job, Result
from lampc.passes.optimize.labeled import LabeledFewShot
from lampc.passes.optimize.protocol import Demand, Optimizer, Problem, Settled

_LABELED, _PLAIN = 1, 2  # places of the sets that are not shuffled, beside the empty one at 0


class DemoSets:
    """`count` sets for each predictor of `problem` whose demos may change.

    The first set is empty, the second labelled rows (with `max_labeled_demos` above 0), the third a bootstrap of the
    rows as they stand; each other one shuffles them with `rng`, draws from it how many demos to bootstrap (from 1 to
    `max_bootstrapped_demos` of `options`), and bootstraps these.
    """

    def __init__(self, problem: Problem, count: int, options: BootstrapFewShot, rng: random.Random) -> None:
        self.problem = problem
        self._due: deque[Optimizer] = deque()  # whose each job is that is due
        self._sets = [self._begun(place, options, rng) for place in range(count)]

    def _begun(self, place: int, options: BootstrapFewShot, rng: random.Random) -> Optimizer:
        if place == 0:
            return Settled(self.problem.with_demos(self.problem.start, {p.symbol: () for p in self._free}))
        if place == _LABELED and options.max_labeled_demos > 0:
            return LabeledFewShot(options.max_labeled_demos).begin(self.problem)
        options.check(self.problem)
        order = list(range(len(self.problem.train)))
        if place != _PLAIN:
            rng.shuffle(order)
            most = options.max_bootstrapped_demos
            options = replace(options, max_bootstrapped_demos=rng.randint(1, most) if most else 0)
        return Bootstrap(options, self.problem, order)

    @property
    def _free(self) -> list[DefPredictor]:
        return self.problem.tunable("demos")

    @property
    def done(self) -> bool:
        return not self._due and all(s.done for s in self._sets)

    def demos(self, predictor: str) -> list[tuple[Demo, ...]]:
        """The sets of a predictor, in order; usable once `done`."""
        return [s.best.get(f"{predictor}.demos").items for s in self._sets]

    def ask(self, n: int) -> list[Job]:
        jobs: list[Job] = []
        for fold in self._sets:
            found = fold.ask(n - len(jobs)) if len(jobs) < n and not fold.done else []
            self._due += [fold] * len(found)
            jobs += found
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        fold = self._due.popleft()
        if not fold.done:  # else it was asked for ahead of time
            fold.tell(job, result)

    def demand(self) -> Demand:
        """A row that several sets bootstrap counts for each."""
        return sum((s.demand() for s in self._sets), Demand())
