"""`lampc.streaming`: answers while they are written, under DSPy's names."""

from lampc.runtime.streaming import StatusMessage, StatusMessageProvider, StreamListener, StreamResponse
from lampc.streaming.streamify import (  # first the module, then the function of its name
    apply_sync_streaming,
    streamify,
    streaming_response,
)

__all__ = [
    "StatusMessage",
    "StatusMessageProvider",
    "StreamListener",
    "StreamResponse",
    "apply_sync_streaming",
    "streamify",
    "streaming_response",
]
