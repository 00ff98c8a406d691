"""`lampc.teleprompt.bootstrap`: the path that `dspy.teleprompt.bootstrap` has."""

from lampc.runtime.optimizers.bootstrap import BootstrapFewShot

__all__ = ["BootstrapFewShot"]
