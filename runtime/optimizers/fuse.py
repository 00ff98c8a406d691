"""Calls fused, which is ours: several calls on the same text as one, where held-out rows say that nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from lampc.frontend.python.module import Module
from lampc.runtime.optimizers.base import Teleprompter, improve, module_of


class Fuse(Teleprompter):
    """Options are those of `lampc.passes.optimize.Fuse`; see `lampc explain fuse`."""

    def __init__(self, metric: Callable[..., Any], *, num_threads: int | None = None, **options: Any) -> None:
        """Raises TypeError for an option that there is not."""
        from lampc.passes.optimize import Fuse

        known = [f.name for f in fields(Fuse)]
        for name in options:
            if name not in known:
                raise TypeError(f"Fuse has no option {name!r}; there are metric, num_threads, {', '.join(known)}")
        self.metric, self.num_threads, self.options = metric, num_threads, options

    def compile(
        self, student: Module, *, trainset: Sequence[Any] = (), valset: Sequence[Any] | None = None, teacher: Any = None
    ) -> Module:
        """A copy of `student` whose calls are fused where the rows of `valset`, by default the trainset, allow it.

        Its `gates` has what was found of each group that was tried. Calls are fused where the
        module is run compiled (`Evaluate`, `batch`); a single call of it makes its calls as they are written. Raises
        OptimizeError.
        """
        from lampc.passes.optimize import Fuse, OptimizeError

        if teacher is not None:
            raise OptimizeError("Fuse has no use for a teacher")
        rows = trainset if valset is None else valset
        found = improve(
            module_of(student), Fuse(**self.options), trainset=trainset or rows, valset=rows,
            metric=self.metric, num_threads=self.num_threads,
        )  # fmt: skip
        made = found.module
        made.gates = found.result.gates  # type: ignore[attr-defined]
        return made

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's."""
        return "fuse", dict(self.options)
