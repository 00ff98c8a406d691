"""`lampc.teleprompt.bootstrap`: the path that `dspy.teleprompt.bootstrap` has."""

from lampc.runtime.teleprompt import BootstrapFewShot

__all__ = ["BootstrapFewShot"]
