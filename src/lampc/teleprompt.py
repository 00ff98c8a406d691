"""`lampc.teleprompt`: the optimizers that are here, under the names of `dspy.teleprompt`."""

from lampc.runtime.teleprompt import BootstrapFewShot, LabeledFewShot

__all__ = ["BootstrapFewShot", "LabeledFewShot"]
