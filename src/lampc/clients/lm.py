"""`lampc.clients.lm`: the path that `dspy.clients.lm` has."""

from lampc.runtime.lm import LM

__all__ = ["LM"]
