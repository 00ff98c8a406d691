"""`lampc.utils.syncify`: the path that `dspy.utils.syncify` has."""

from lampc.frontend.python.awaiting import syncify

__all__ = ["syncify"]
