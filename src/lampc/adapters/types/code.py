"""`lampc.adapters.types.code`: the path that `dspy.adapters.types.code` has."""

from lampc.frontend.python.types.code import Code

__all__ = ["Code"]
