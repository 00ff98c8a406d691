"""The face of DSPy's optimizers: `compile(student, trainset=...)` gives a better student."""

from __future__ import annotations

from typing import Any

from lampc.frontend.python.module import Module


class Teleprompter:
    """Base of optimizers, those of users too."""

    def compile(self, student: Module, *args: Any, **kwargs: Any) -> Module:
        """An optimized copy of `student`; DSPy's names are `trainset=`, `teacher=` and `valset=`."""
        raise NotImplementedError(f"{type(self).__name__} has no `compile`")

    def get_params(self) -> dict[str, Any]:
        """What it was made with, by name."""
        return dict(vars(self))
