"""`lampc.adapters.types.history`: the path that `dspy.adapters.types.history` has."""

from lampc.frontend.python.types.history import History

__all__ = ["History"]
