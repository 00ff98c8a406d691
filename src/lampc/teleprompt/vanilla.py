"""`lampc.teleprompt.vanilla`: the path that `dspy.teleprompt.vanilla` has."""

from lampc.runtime.optimizers.labeled import LabeledFewShot

__all__ = ["LabeledFewShot"]
