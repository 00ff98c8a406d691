"""`lampc.teleprompt.ensemble`: the path that `dspy.teleprompt.ensemble` has."""

from lampc.runtime.optimizers.ensemble import Ensemble

__all__ = ["Ensemble"]
