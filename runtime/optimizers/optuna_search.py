"""DSPy's BootstrapFewShotWithOptuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.runtime.optimizers.base import Teleprompter, improve, module_of
from lampc.runtime.optimizers.bootstrap import bootstrap_options, bootstrap_step


class BootstrapFewShotWithOptuna(Teleprompter):
    """One bootstrap, and the demo of each predictor, a single one, that optuna finds to serve best; options as in DSPy,
    whose study has no seed: here it has one, so the same call gives the same program.

    The first ten trials, which optuna draws at random, are scored together, later ones one after another.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
        num_candidate_programs: int = 16,
        num_threads: int | None = None,
    ) -> None:
        self.metric = metric
        self.teacher_settings = dict(teacher_settings or {})
        self.max_rounds = max_rounds
        self.num_threads = num_threads
        self.min_num_samples = 1
        self.max_num_samples = max_bootstrapped_demos
        self.num_candidate_sets = num_candidate_programs
        self.max_labeled_demos = max_labeled_demos

    def _options(self, max_demos: int) -> dict[str, Any]:
        labeled = self.max_labeled_demos
        return {"max_bootstrapped_demos": max_demos, "max_labeled_demos": labeled, "max_rounds": self.max_rounds}

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`."""
        own = {"num_candidate_programs": self.num_candidate_sets}
        return "bootstrap_optuna", bootstrap_step({**self._options(self.max_num_samples), **own}, self.teacher_settings)

    def compile(
        self,
        student: Module,
        *,
        teacher: Module | None = None,
        max_demos: int,
        trainset: Sequence[Example],
        valset: Sequence[Example] | None = None,
    ) -> Module:
        """The best of the trials. `max_demos` are the most bootstrapped demos to choose from. Raises OptimizeError
        where optuna is not installed, too."""
        from lampc.passes.optimize import BootstrapOptuna

        made = module_of(student).reset_copy()
        asked = made if teacher is None else module_of(teacher)
        strategy = BootstrapOptuna(
            **bootstrap_options(self._options(max_demos), asked), num_candidate_programs=self.num_candidate_sets
        )
        found = improve(
            made, strategy, trainset=trainset, valset=valset or trainset, metric=self.metric, teacher=asked,
            teacher_settings=self.teacher_settings, num_threads=self.num_threads,
        )  # fmt: skip
        found.module._compiled = False  # as DSPy leaves it
        return found.module
