"""`lampc.adapters.chat_adapter`: the path that `dspy.adapters.chat_adapter` has."""

from lampc.frontend.python.adapters import ChatAdapter

__all__ = ["ChatAdapter"]
