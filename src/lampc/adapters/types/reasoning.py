"""`lampc.adapters.types.reasoning`: the path that `dspy.adapters.types.reasoning` has."""

from lampc.frontend.python.types.reasoning import Reasoning

__all__ = ["Reasoning"]
