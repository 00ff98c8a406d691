"""`lampc.teleprompt.copro_optimizer`: the path that `dspy.teleprompt.copro_optimizer` has."""

from lampc.runtime.optimizers.copro import COPRO

__all__ = ["COPRO"]
