"""`lampc.teleprompt.simba`: the path that `dspy.teleprompt.simba` has."""

from lampc.runtime.optimizers.simba import SIMBA

__all__ = ["SIMBA"]
