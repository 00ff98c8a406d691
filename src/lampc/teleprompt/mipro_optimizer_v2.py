"""`lampc.teleprompt.mipro_optimizer_v2`: the path that `dspy.teleprompt.mipro_optimizer_v2` has."""

from lampc.runtime.optimizers.mipro import MIPROv2

__all__ = ["MIPROv2"]
