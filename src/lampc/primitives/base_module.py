"""`lampc.primitives.base_module`: the path that `dspy.primitives.base_module` has."""

from lampc.frontend.python.module import Module as BaseModule

__all__ = ["BaseModule"]
