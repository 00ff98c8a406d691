"""`lampc.teleprompt.teleprompt`: the path that `dspy.teleprompt.teleprompt` has."""

from lampc.runtime.teleprompter import Teleprompter

__all__ = ["Teleprompter"]
