"""`lampc.teleprompt`: the optimizers that are here, under the names of `dspy.teleprompt`."""

from lampc.runtime.teleprompt import BootstrapFewShot, LabeledFewShot
from lampc.runtime.teleprompter import Teleprompter

__all__ = ["BootstrapFewShot", "LabeledFewShot", "Teleprompter"]
