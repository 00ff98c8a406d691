"""`lampc.clients.base_lm`: the path that `dspy.clients.base_lm` has."""

from lampc.frontend.python.calllog import inspect_history
from lampc.runtime.lm import BaseLM

__all__ = ["BaseLM", "inspect_history"]
