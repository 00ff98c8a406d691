"""`lampc.utils.asyncify`: the path that `dspy.utils.asyncify` has."""

from lampc.frontend.python.awaiting import asyncify

__all__ = ["asyncify"]
