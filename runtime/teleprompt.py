"""DSPy's optimizers over the runtime: `LabeledFewShot`, `BootstrapFewShot`.

Thin: each turns examples into rows and a program into a unit, and hands both to a session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module, predictor_symbols
from lampc.frontend.python.tracing import trace
from lampc.ir import Assignment, thaw
from lampc.ir.settings import settings
from lampc.runtime.configure import session_of
from lampc.runtime.evaluation.rows import row_metric, rows_of
from lampc.runtime.lm import LM
from lampc.runtime.teleprompter import Teleprompter

if TYPE_CHECKING:
    from lampc.passes.optimize import Strategy


class LabeledFewShot(Teleprompter):
    """Labelled examples as demos: `LabeledFewShot(k=16).compile(student, trainset=rows)`."""

    def __init__(self, k: int = 16) -> None:
        self.k = k

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`."""
        return "labeled", {"k": self.k}

    def compile(self, student: Module, *, trainset: Sequence[Example], sample: bool = True) -> Module:
        """A copy of `student` with demos. Nothing is run."""
        from lampc.passes.optimize import LabeledFewShot as Strategy

        if not trainset:
            return student
        return compiled(student, trainset, Strategy(self.k, sample), None)


class BootstrapFewShot(Teleprompter):
    """Demos out of the student's own successful runs; options as in DSPy.

    All attempts that the algorithm could need next run together; the result is that of one after another.
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
        self.options: dict[str, Any] = {
            "max_bootstrapped_demos": max_bootstrapped_demos,
            "max_labeled_demos": max_labeled_demos,
            "max_rounds": max_rounds,
            "metric_threshold": metric_threshold,
            "max_errors": max_errors,
        }
        teacher = (teacher_settings or {}).get("lm")
        if teacher is not None:
            self.options["teacher_model"] = teacher.model if isinstance(teacher, LM) else str(teacher)

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's."""
        return "bootstrap", {k: v for k, v in self.options.items() if v is not None}

    def compile(self, student: Module, *, teacher: Module | None = None, trainset: Sequence[Example]) -> Module:
        """A copy of `student` with demos; `teacher` is a program of the same predictors.

        Raises OptimizeError once `max_errors` runs (by default those of the settings) have failed, or all have.
        """
        from lampc.passes.optimize import BootstrapFewShot as Strategy

        most = self.options["max_errors"]
        options = {**self.options, "max_errors": settings.max_errors or 0 if most is None else most}
        return compiled(student, trainset, Strategy(**options), self.metric, teacher)


def compiled(
    student: Module,
    trainset: Sequence[Example],
    strategy: Strategy,
    metric: Callable[..., Any] | None,
    teacher: Module | None = None,
) -> Module:
    """Run one optimizer over a module and give a copy that has what it found."""
    from lampc.runtime.driver import optimize

    if not isinstance(student, Module):
        raise TypeError("compile takes a lampc.Module; for a @lampc.program use `lampc optimize`")
    made = student.reset_copy()
    unit = trace(made)
    start = _parameters(teacher) if teacher is not None else Assignment()
    rows = rows_of(trainset, unit)
    score = row_metric(metric or (lambda example, prediction, trace=None: 1.0), unit)
    result = optimize(
        unit, session_of("compile"), steps=[strategy], train=rows, select=[], metric=score, program=unit.entry,
        start=start,
    )  # fmt: skip
    apply(made, result.assignment, demos_only=teacher is not None)
    made._compiled = True
    return made


def _parameters(teacher: Module) -> Assignment:
    """What a teacher's predictors say, as a candidate."""
    values: dict[str, Any] = {}
    for symbol, predictor in predictor_symbols(teacher):
        bound = predictor.bound()
        values[f"{symbol}.instruction"] = bound.instruction
        values[f"{symbol}.demos"] = bound.demos
    return Assignment().updated(**values)


def apply(module: Module, assignment: Assignment, *, demos_only: bool = False) -> None:
    """Set demos and instructions of a module's predictors to those of a candidate."""
    for symbol, predictor in predictor_symbols(module):
        demos = assignment.get(f"{symbol}.demos")
        if demos is not None:
            predictor.demos = [
                Example(thaw(d.values), **({"augmented": True} if d.augmented else {})) for d in demos.items
            ]
        text = assignment.get(f"{symbol}.instruction")
        if text is not None and not demos_only:
            predictor.signature = predictor.signature.with_instructions(text)
