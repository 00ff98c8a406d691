"""Cascades, which are ours: a cheap model answers where that keeps what is promised of all answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lampc.frontend.python.module import Module
from lampc.ir.modelnames import model_name
from lampc.runtime.configure import as_lm
from lampc.runtime.lm import LM
from lampc.runtime.optimizers.base import Teleprompter, improve, module_of


class Cascade(Teleprompter):
    """`lampc.Cascade(lampc.LM("small"), target=0.95).compile(program, trainset=rows)`: a predictor asks `proxy` first,
    and its own model where the proxy is not sure enough.

    The trainset needs no labels: what is promised is about the answers of the predictor's own model. Options are those
    of `lampc.passes.optimize.Cascade`.
    """

    def __init__(self, proxy: Any, **options: Any) -> None:
        """Raises TypeError for an option that there is not."""
        from dataclasses import fields

        from lampc.passes.optimize import Cascade

        known = [f.name for f in fields(Cascade)]
        if wrong := [n for n in options if n not in known]:
            raise TypeError(f"Cascade has no option {wrong[0]!r}; there are {', '.join(known)}")
        self.proxy = LM(proxy) if isinstance(proxy, str) else as_lm(proxy)
        self.options = options

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`."""
        return "cascade", {"proxy": model_name(self.proxy), **self.options}

    def compile(self, student: Module, *, trainset: Sequence[Any]) -> Module:
        """A copy of `student` with the cascade, or as it is if none can be shown to keep what is promised; its
        `cascade` says in words what was found. Raises OptimizeError."""
        from lampc.passes.optimize import Cascade

        strategy = Cascade(**self.step()[1])
        found = improve(module_of(student), strategy, trainset=trainset)
        made = found.module
        made.cascade = found.result.history[-1].note  # type: ignore[attr-defined]
        return made
