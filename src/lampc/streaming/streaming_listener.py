"""`lampc.streaming.streaming_listener`: the path that `dspy.streaming.streaming_listener` has."""

from lampc.runtime.streaming import StreamListener

__all__ = ["StreamListener"]
