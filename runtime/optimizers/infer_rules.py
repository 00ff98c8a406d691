"""DSPy's InferRules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.ir.modelnames import model_name
from lampc.ir.settings import settings
from lampc.runtime.optimizers.base import improve, module_of
from lampc.runtime.optimizers.bootstrap import BootstrapFewShot, bootstrap_options, bootstrap_step


class InferRules(BootstrapFewShot):
    """Bootstrapped demos, and rules that a model reads off the examples and that are added to the instructions.

    `num_candidates` times up to `num_rules` rules are drawn for each predictor; the candidate that scores highest on
    `valset` stays. All draws are asked for together, and so is the scoring. Without a `valset` the second half of the
    trainset is it. The LM of `teacher_settings`, else the configured one, writes the rules; more options are those of
    `BootstrapFewShot`, `metric` among them. Each candidate's instructions are its own: neither the student's class of
    signatures nor another candidate is changed.
    """

    def __init__(
        self,
        num_candidates: int = 10,
        num_rules: int = 10,
        num_threads: int | None = None,
        teacher_settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(teacher_settings=teacher_settings, **kwargs)
        self.num_candidates = num_candidates
        self.num_rules = num_rules
        self.num_threads = num_threads

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`."""
        own = {"num_candidates": self.num_candidates, "num_rules": self.num_rules}
        return "infer_rules", bootstrap_step({**self.options, **own}, self.teacher_settings)

    def compile(
        self,
        student: Module,
        *,
        teacher: Module | None = None,
        trainset: Sequence[Example],
        valset: Sequence[Example] | None = None,
    ) -> Module:
        """The best candidate. Raises OptimizeError as `BootstrapFewShot` does, and where no rules can be had."""
        from lampc.passes.optimize import InferRules as Strategy

        asked = module_of(student if teacher is None else teacher)
        writer = self.teacher_settings.get("lm")
        strategy = Strategy(
            **bootstrap_options(self.options, asked),
            num_candidates=self.num_candidates,
            num_rules=self.num_rules,
            prompt_model="" if writer is None else model_name(writer),
            layout=settings.get("layout") or "chat",
        )
        found = improve(
            module_of(student).reset_copy(), strategy, trainset=trainset, valset=valset, metric=self.metric,
            teacher=asked, teacher_settings=self.teacher_settings, num_threads=self.num_threads,
        )  # fmt: skip
        return found.module
