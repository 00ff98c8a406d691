"""LabeledFewShot: labelled rows as demos, without running anything."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir import Demo, Signature
from lampc.passes.optimize.protocol import Candidate, Example, OptimizeError, Problem, Settled, check_count


@dataclass(frozen=True)
class LabeledFewShot:
    """`k` rows of the training split for each predictor, drawn with `seed` (the first `k` if not `sample`).

    One generator serves all predictors in turn, each drawing without repetition, as in DSPy. A row gives a
    predictor those of its fields that it holds; it is left out where it has no input or no output of it.
    """

    name: ClassVar[str] = "labeled"
    k: int = 16
    sample: bool = True
    seed: int = 0

    def begin(self, problem: Problem) -> Settled:
        check_count(self.name, k=self.k)
        if self.k and not problem.train:
            raise OptimizeError(f"{self.name}: split `{problem.train_split}` has no rows to take demos from")
        chosen = draw(self, problem, len(problem.train))
        train = problem.train
        free = {p.symbol: p for p in problem.tunable("demos")}
        if not free:
            return Settled(problem.start)
        best = problem.with_demos(
            problem.start, {n: demos_of([train[i] for i in chosen[n]], p.signature) for n, p in free.items()}
        )
        return Settled(best, [Candidate(best, self.name, f"{min(self.k, len(train))} labelled demos")])


def draw(strategy: LabeledFewShot, problem: Problem, rows: int) -> dict[str, list[int]]:
    """Indices, out of so many rows, chosen for each predictor."""
    rng = random.Random(strategy.seed)
    everything = range(rows)
    size = min(strategy.k, len(everything))
    return {
        p.symbol: rng.sample(everything, size) if strategy.sample else list(everything[:size])
        for p in problem.predictors()
    }


def demos_of(examples: Sequence[Example], signature: Signature) -> list[Demo]:
    """The examples as demos of a predictor; those of no use to it are left out."""
    made = [e.demo(signature) for e in examples]
    return [d for d in made if d is not None]
