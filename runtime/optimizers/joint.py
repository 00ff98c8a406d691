"""Joint search, which is ours: everything that a module may change, under a trade of score against tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.module import Module
from lampc.ir.modelnames import model_name
from lampc.runtime.configure import as_lm
from lampc.runtime.evaluation.rows import called_on
from lampc.runtime.optimizers.base import Found, Teleprompter, examples_of, improve, module_of
from lampc.runtime.optimizers.parameters import changed

if TYPE_CHECKING:
    from lampc.passes.optimize import JointSearch as Strategy


class JointSearch(Teleprompter):
    """The best by `score - tokens / tokens_per_point`: so many tokens a row are worth a point of score (of 100), with 0
    score alone counts. Options are those of `lampc.passes.optimize.JointSearch`; see `lampc explain joint`.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        tokens_per_point: float = 0.0,
        trials: int = 40,
        choices: Mapping[str, Sequence[Any]] | None = None,
        pool: Any = (),
        prompt_model: Any = None,
        num_threads: int | None = None,
        **options: Any,
    ) -> None:
        """Raises TypeError for an option that there is not."""
        from lampc.passes.optimize import JointSearch

        known = [f.name for f in fields(JointSearch) if f.name != "base"]
        for name in options:
            if name not in known:
                raise TypeError(
                    f"JointSearch has no option {name!r}; there are metric, num_threads, {', '.join(known)}"
                )
        self.metric, self.num_threads = metric, num_threads
        self.prompt_model = as_lm(prompt_model) if prompt_model is not None else None
        self.options: dict[str, Any] = {
            "tokens_per_point": tokens_per_point, "trials": trials, "choices": dict(choices or {}), "pool": pool,
            **options,
        }  # fmt: skip

    def compile(
        self, student: Module, *, trainset: Sequence[Any], valset: Sequence[Any] | None = None, teacher: Any = None
    ) -> Module:
        """A copy of `student` with what was found by the trade on `valset`, by default the trainset.

        Its `front` has what nothing beats in score and tokens, the fewest tokens first: dicts of `score`, `tokens` and
        `program`. Raises OptimizeError, before anything is run for a parameter that a module cannot hold.
        """
        strategy = self.strategy()
        _check(module_of(student), trainset, strategy)
        found = improve(
            student, strategy, trainset=trainset, valset=trainset if valset is None else valset,
            metric=self.metric, teacher=teacher, num_threads=self.num_threads,
        )  # fmt: skip
        made = found.module
        made.front = _front(found, len(valset if valset is not None else trainset))  # type: ignore[attr-defined]
        return made

    def strategy(self) -> Strategy:
        """The search that `compile` makes."""
        from lampc.passes.optimize import JointSearch

        writer = {"prompt_model": model_name(self.prompt_model)} if self.prompt_model is not None else {}
        models = tuple(m if isinstance(m, str) else model_name(as_lm(m)) for m in self.options.get("models", ()))
        return JointSearch(**{**self.options, **writer, "models": models})

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's, its models those of the program."""
        return "joint", {**self.options, **({"prompt_model": self.prompt_model.model} if self.prompt_model else {})}


def _check(student: Module, trainset: Sequence[Any], strategy: Strategy) -> None:
    """Raises OptimizeError for a choice that no module of the kind could hold, as of a variable outside of it."""
    from lampc.passes.optimize import Problem
    from lampc.passes.optimize.joint.space import static_axes

    unit, _ = called_on(student, examples_of(trainset)[:1])
    problem = Problem(unit.module, (), 0, entry=unit.entry or None)
    for name, values in static_axes(
        problem, strategy.name, strategy.choices, strategy.layouts, strategy.models
    ).items():
        for value in values if len(set(values)) > 1 or name in strategy.choices else ():
            changed(student.deepcopy(), name, value)


def _front(found: Found, rows: int) -> list[dict[str, Any]]:
    from lampc.passes.optimize.joint import front_of

    return [
        {"score": p.score, "tokens": p.tokens, "program": found.program(p.assignment)}
        for p in front_of(found.result.history, rows)
    ]
