"""`lampc.streaming.messages`: the path that `dspy.streaming.messages` has."""

from lampc.runtime.streaming import StatusMessage, StatusMessageProvider, StreamResponse

__all__ = ["StatusMessage", "StatusMessageProvider", "StreamResponse"]
