"""`lampc.teleprompt.vanilla`: the path that `dspy.teleprompt.vanilla` has."""

from lampc.runtime.teleprompt import LabeledFewShot

__all__ = ["LabeledFewShot"]
