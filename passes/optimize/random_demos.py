"""RandomDemos: the baseline that a bootstrapped program must beat."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from lampc.passes.optimize.labeled import demos_of
from lampc.passes.optimize.protocol import Candidate, OptimizeError, Problem, Settled, check_count


@dataclass(frozen=True)
class RandomDemos:
    """`k` training rows drawn with `seed`, the same rows for every predictor; instructions stay as they are."""

    name: ClassVar[str] = "random"
    k: int = 4
    seed: int = 0

    def begin(self, problem: Problem) -> Settled:
        check_count(self.name, k=self.k)
        if self.k and not problem.train:
            raise OptimizeError(f"{self.name}: split `{problem.train_split}` has no rows to take demos from")
        chosen = random.Random(self.seed).sample(problem.train, min(self.k, len(problem.train)))
        demos = {p.symbol: demos_of(chosen, p.signature) for p in problem.tunable("demos")}
        best = problem.with_demos(problem.start, demos)
        return Settled(best, [Candidate(best, self.name, f"{len(chosen)} random demos, seed {self.seed}")])
