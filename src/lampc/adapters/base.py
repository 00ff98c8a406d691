"""`lampc.adapters.base`: the path that `dspy.adapters.base` has."""

from lampc.frontend.python.adapters import Adapter

__all__ = ["Adapter"]
