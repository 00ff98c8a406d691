"""DSPy's BootstrapFewShot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.ir.settings import settings
from lampc.runtime.lm import LM
from lampc.runtime.optimizers.base import Teleprompter, improve, module_of

if TYPE_CHECKING:
    from lampc.passes.optimize import BootstrapFewShot as Strategy


class BootstrapFewShot(Teleprompter):
    """Demos out of the successful runs of a teacher, which is the student itself if none is given; options as in DSPy.

    All attempts that the algorithm is sure to need next run together; the result is that of one after another.
    `teacher_settings` hold while the teacher runs: `{"lm": lm}` is for its predictors that have no LM of their own.
    """

    def __init__(
        self,
        metric: Callable[..., Any] | None = None,
        metric_threshold: float | None = None,
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
        max_errors: int | None = None,
    ) -> None:
        self.metric = metric
        self.metric_threshold = metric_threshold
        self.teacher_settings = dict(teacher_settings or {})
        self.max_bootstrapped_demos = max_bootstrapped_demos
        self.max_labeled_demos = max_labeled_demos
        self.max_rounds = max_rounds
        self.max_errors = max_errors

    @property
    def options(self) -> dict[str, Any]:
        """Those of the bootstrap, by the names that strategies have for them."""
        names = ("max_bootstrapped_demos", "max_labeled_demos", "max_rounds", "metric_threshold", "max_errors")
        return {name: getattr(self, name) for name in names}

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's, its teacher's LM a model of the program,
        by name."""
        return "bootstrap", bootstrap_step(self.options, self.teacher_settings)

    def compile(self, student: Module, *, teacher: Module | None = None, trainset: Sequence[Example]) -> Module:
        """A copy of `student` with demos; `teacher` is a program of the same predictors, and asks the LMs that it has.

        A teacher that was compiled, and any where `max_labeled_demos` is 0, shows the demos that it has; others show
        labelled ones. Raises OptimizeError for a teacher of other predictors, and once `max_errors` runs (by default
        those of the settings) have failed, or all have.
        """
        asked = module_of(student if teacher is None else teacher)
        found = improve(
            module_of(student).reset_copy(), self.strategy(asked), trainset=trainset, metric=self.metric,
            teacher=asked, teacher_settings=self.teacher_settings,
        )  # fmt: skip
        return found.module

    def strategy(self, teacher: Module) -> Strategy:
        """The search that `compile` makes."""
        from lampc.passes.optimize import BootstrapFewShot

        return BootstrapFewShot(**bootstrap_options(self.options, teacher))


def bootstrap_options(options: Mapping[str, Any], teacher: Module) -> dict[str, Any]:
    """DSPy's options of a bootstrap as those of a strategy: no run that could turn out unneeded, `max_errors` of the
    settings unless it is given (0 is DSPy's: the first error ends it). A teacher that was compiled, and any without
    labelled demos, shows those that it has."""
    given = options.get("max_errors")
    most = settings.max_errors if given is None else max(1, given)
    keep = teacher._compiled or not options["max_labeled_demos"]
    return {**options, "max_errors": most or 0, "speculate": 1.0, "keep_demos": keep}


def bootstrap_step(options: Mapping[str, Any], teacher_settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a step of `lampc.optimize(...)` has them."""
    out = {k: v for k, v in options.items() if v is not None}
    teacher = teacher_settings.get("lm")
    if teacher is not None:
        out["teacher_model"] = teacher.model if isinstance(teacher, LM) else str(teacher)
    return out
