"""DSPy's LabeledFewShot."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.runtime.optimizers.base import Teleprompter, examples_of, module_of

if TYPE_CHECKING:
    from lampc.runtime.dryrun import DryRun


class LabeledFewShot(Teleprompter):
    """Labelled examples as demos: `LabeledFewShot(k=16).compile(student, trainset=rows)`."""

    def __init__(self, k: int = 16) -> None:
        self.k = k

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`."""
        return "labeled", {"k": self.k}

    def dry_run(self, student: Module, *args: Any, **kwargs: Any) -> DryRun:
        """Nothing: demos are drawn, not run."""
        from lampc.runtime.dryrun import nothing

        self.compile(student, *args, **kwargs)
        return nothing("labeled")

    def compile(self, student: Module, *, trainset: Sequence[Example], sample: bool = True) -> Module:
        """A copy of `student` with examples as demos, drawn as DSPy draws them. Nothing is run, no model is needed."""
        made = module_of(student).reset_copy()
        examples = examples_of(trainset)
        size, rng = min(self.k, len(examples)), random.Random(0)
        for predictor in made.predictors():
            drawn = (
                rng.sample(examples, size) if sample else examples[:size]
            )  # for frozen ones too: others stay the same
            if "demos" not in predictor.frozen:
                predictor.demos = drawn
        return made
