"""DSPy's LabeledFewShot."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.runtime.optimizers.base import Teleprompter, examples_of, module_of


class LabeledFewShot(Teleprompter):
    """Labelled examples as demos: `LabeledFewShot(k=16).compile(student, trainset=rows)`."""

    def __init__(self, k: int = 16) -> None:
        self.k = k

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`."""
        return "labeled", {"k": self.k}

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
