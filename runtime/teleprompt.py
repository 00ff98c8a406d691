"""DSPy's optimizers over the runtime: `LabeledFewShot`, `BootstrapFewShot`.

Thin: a bootstrap turns examples into rows and its teacher into a unit, and hands both to a session.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module, predictor_symbols
from lampc.ir import Assignment, Demo, DemoSet, thaw
from lampc.ir.settings import settings
from lampc.runtime.configure import context, session_of
from lampc.runtime.evaluation.rows import called_on, row_metric
from lampc.runtime.hosts import plain
from lampc.runtime.lm import LM
from lampc.runtime.objects import asked_whole
from lampc.runtime.teleprompter import Teleprompter

if TYPE_CHECKING:
    from lampc.passes.optimize import BootstrapFewShot as Bootstrap
    from lampc.passes.optimize import Strategy
    from lampc.runtime.types import Row


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
            predictor.demos = rng.sample(examples, size) if sample else examples[:size]
        return made


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
        self.teacher_settings = dict(teacher_settings or {})
        self.options: dict[str, Any] = {
            "max_bootstrapped_demos": max_bootstrapped_demos,
            "max_labeled_demos": max_labeled_demos,
            "max_rounds": max_rounds,
            "metric_threshold": metric_threshold,
            "max_errors": max_errors,
        }

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's, its teacher's LM a model of the program,
        by name."""
        options = {k: v for k, v in self.options.items() if v is not None}
        teacher = self.teacher_settings.get("lm")
        if teacher is not None:
            options["teacher_model"] = teacher.model if isinstance(teacher, LM) else str(teacher)
        return "bootstrap", options

    def compile(self, student: Module, *, teacher: Module | None = None, trainset: Sequence[Example]) -> Module:
        """A copy of `student` with demos; `teacher` is a program of the same predictors, and asks the LMs that it has.

        A teacher that was compiled, and any where `max_labeled_demos` is 0, shows the demos that it has; others show
        labelled ones. Raises OptimizeError for a teacher of other predictors, and once `max_errors` runs (by default
        those of the settings) have failed, or all have.
        """
        made = module_of(student).reset_copy()
        asked = (student if teacher is None else module_of(teacher)).deepcopy()
        check_alike(made, asked)
        examples = examples_of(trainset)
        with context(**self.teacher_settings):
            rows, found = _bootstrap(asked, examples, self.strategy(asked), self.metric)
        for symbol, predictor in predictor_symbols(made):
            demos = found.get(f"{symbol}.demos")
            if demos is not None:
                predictor.demos = demos_of(demos, predictor, rows, examples)
        made._compiled = True
        return made

    def strategy(self, teacher: Module) -> Bootstrap:
        """The search that `compile` makes: no run that could turn out unneeded. `max_errors` 0 is DSPy's: the first
        error ends it."""
        from lampc.passes.optimize import BootstrapFewShot

        most = settings.max_errors if self.options["max_errors"] is None else max(1, self.options["max_errors"])
        keep = teacher._compiled or not self.options["max_labeled_demos"]
        return BootstrapFewShot(**{**self.options, "max_errors": most or 0}, speculate=1.0, keep_demos=keep)


def _bootstrap(
    teacher: Module, examples: Sequence[Example], strategy: Strategy, metric: Callable[..., Any] | None
) -> tuple[list[Row], Assignment]:
    """The examples as rows, and what an optimizer finds that runs the teacher on them."""
    from lampc.runtime.driver import optimize

    unit, called = called_on(teacher, examples)
    unit = asked_whole(unit, teacher)
    rows = [replace(row, inputs=plain(row.inputs)) for row in called]  # as journals have them
    measure = metric or (lambda example, prediction, trace=None: 1.0)
    score = row_metric(measure, unit, dict(predictor_symbols(teacher)))
    result = optimize(
        unit, session_of("compile"), steps=[strategy], train=rows, select=[], metric=score, program=unit.entry,
        whole=True,
    )  # fmt: skip
    return rows, result.assignment


def demos_of(found: DemoSet, predictor: Any, rows: Sequence[Row], examples: Sequence[Example]) -> list[Example]:
    """Demos as a predictor holds them: those that nobody ran are the examples themselves."""
    from lampc.passes.optimize import Example as Labelled

    signature = predictor.ir_signature()
    own: dict[Demo | None, Example] = {}
    for row, example in zip(rows, examples, strict=True):
        own.setdefault(Labelled(row.inputs, row.labels).demo(signature), example)
    return [
        Example(thaw(d.values), augmented=True) if d.augmented else own.get(d) or Example(thaw(d.values))
        for d in found.items
    ]


def module_of(program: Any) -> Module:
    if not isinstance(program, Module):
        raise TypeError("compile takes a lampc.Module; for a @lampc.program use `lampc optimize`")
    return program


def examples_of(trainset: Sequence[Any]) -> list[Example]:
    return [e if isinstance(e, Example) else Example(e) for e in trainset]


def check_alike(student: Module, teacher: Module) -> None:
    """Raises OptimizeError if their predictors differ in names or fields."""
    from lampc.passes.optimize import OptimizeError

    def parts(module: Module) -> dict[str, Any]:
        signatures = {n: p.ir_signature() for n, p in predictor_symbols(module)}
        return {n: [(f.name, f.type) for f in (*s.inputs, *s.outputs)] for n, s in signatures.items()}

    ours, theirs = parts(student), parts(teacher)
    wrong = [n for n in {**ours, **theirs} if ours.get(n) != theirs.get(n)]
    if wrong:
        raise OptimizeError(
            f"bootstrap: student and teacher need the same predictors, and `{wrong[0]}` of them is "
            f"{'not in both' if wrong[0] not in ours or wrong[0] not in theirs else 'one of other fields'}"
        )
