"""`lampc.primitives.module`: the path that `dspy.primitives.module` has."""

from lampc.frontend.python.module import Module

__all__ = ["Module"]
