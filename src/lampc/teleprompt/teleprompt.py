"""`lampc.teleprompt.teleprompt`: the path that `dspy.teleprompt.teleprompt` has."""

from lampc.runtime.optimizers.base import Teleprompter

__all__ = ["Teleprompter"]
