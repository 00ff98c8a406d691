"""DSPy's BootstrapFinetune."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.context import model_symbol
from lampc.frontend.python.module import Module
from lampc.ir.modelnames import model_name
from lampc.ir.settings import settings
from lampc.runtime.lm import LM
from lampc.runtime.optimizers.base import Teleprompter, improve, module_of

if TYPE_CHECKING:
    from lampc.passes.optimize import BootstrapFinetune as Strategy


class BootstrapFinetune(Teleprompter):
    """The models of a program learn from its own successful runs, or from those of a teacher: adapters (LoRA) for
    models on this machine, `firefly` or a checkpoint folder. Arguments and defaults are DSPy's.

    `train_kwargs` are options of the training (`lampc.backend.training.TrainingSettings`: `learning_rate`,
    `num_train_epochs`, `rank`, ...; `output_dir` is the adapter's folder), or such options by LM. `adapter` is what is
    trained and then used. Unlike in DSPy predictors without an LM of their own train the configured one, the student
    itself is left as it is, and what is trained is what the program sends: `exclude_demos` takes the demos away before.
    """

    def __init__(
        self,
        metric: Callable[..., Any] | None = None,
        multitask: bool = True,
        train_kwargs: Mapping[Any, Any] | None = None,
        adapter: Any = None,
        exclude_demos: bool = False,
        num_threads: int | None = None,
    ) -> None:
        self.metric, self.multitask, self.train_kwargs = metric, multitask, dict(train_kwargs or {})
        self.adapter, self.exclude_demos, self.num_threads = adapter, exclude_demos, num_threads

    def compile(self, student: Module, trainset: Sequence[Any], teacher: Any = None) -> Module:
        """A copy of `student` whose predictors ask the trained models. Raises OptimizeError if no run succeeded or a
        model cannot be trained, ValueError for several teachers."""
        if isinstance(teacher, list | tuple):
            if len(teacher) > 1:
                raise ValueError(f"{len(teacher)} teachers were given; one at a time is supported")
            teacher = teacher[0] if teacher else None
        found = improve(
            module_of(student), self.strategy(), trainset=trainset, metric=self.metric, teacher=teacher,
            num_threads=self.num_threads,
        )  # fmt: skip
        made = found.module
        for predictor, before in zip(made.predictors(), student.predictors(), strict=True):
            if isinstance(predictor.lm, str):
                predictor.lm = _trained(before.lm if before.lm is not None else settings.get("lm"), predictor.lm)
        return made

    def strategy(self) -> Strategy:
        """The steps that `compile` makes."""
        from lampc.passes.optimize import BootstrapFinetune

        return BootstrapFinetune(
            multitask=self.multitask, train_kwargs=self._options(), layout=self._layout(),
            exclude_demos=self.exclude_demos,
        )  # fmt: skip

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's."""
        options = {"multitask": self.multitask, "exclude_demos": self.exclude_demos, "layout": self._layout()}
        return "finetune", {**options, "train_kwargs": self._options()}

    def _options(self) -> dict[str, Any]:
        """Options by name, or by the symbols of models."""
        if not any(isinstance(v, Mapping) for v in self.train_kwargs.values()):
            return self.train_kwargs
        configured = settings.get("lm")
        return {"main" if lm is configured else model_symbol(model_name(lm)): o for lm, o in self.train_kwargs.items()}

    def _layout(self) -> str:
        adapters = list(self.adapter.values()) if isinstance(self.adapter, Mapping) else [self.adapter]
        names = {a if isinstance(a, str) else str(a.name) for a in adapters if a is not None}
        if len(names) > 1:
            raise ValueError(f"adapters {', '.join(sorted(names))}: one for all models is supported")
        return names.pop() if names else ""


def _trained(before: Any, name: str) -> LM:
    """The LM of a trained model, with the options that the one before had."""
    if isinstance(before, LM) and isinstance(before.engine, str):
        return before.copy(model=name)
    return LM(name)
