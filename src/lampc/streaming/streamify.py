"""`lampc.streaming.streamify`: the path that `dspy.streaming.streamify` has."""

from lampc.runtime.streaming import apply_sync_streaming, streamify, streaming_response

__all__ = ["apply_sync_streaming", "streamify", "streaming_response"]
