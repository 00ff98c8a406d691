"""`lampc.streaming`: answers while they are written, under DSPy's names."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.runtime.streaming import StatusMessage, StatusMessageProvider, StreamListener, StreamResponse
from lampc.streaming.streamify import (  # first the module, then the function of its name
    apply_sync_streaming,
    streamify,
    streaming_response,
)

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = [
    "StatusMessage",
    "StatusMessageProvider",
    "StreamListener",
    "StreamResponse",
    "apply_sync_streaming",
    "streamify",
    "streaming_response",
]
