"""A small complete inference engine: token ids in, token ids out.

Paged key/value memory, prefix sharing down to the single token, continuous batching, chunked prefill and
preemption, over models in Hugging Face checkpoint folders; beside it encoders, which make vectors of texts.
Exact by default: the tokens of a request do not depend on its neighbours, its chunking or the cache. Importing this
package imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "lampc.backend":
    raise ImportError("import lampc.backend, not backend")

if TYPE_CHECKING:
    from lampc.backend.api import EngineInfo, EngineStats, TokenEngine
    from lampc.backend.encoder import Encoder, EncoderInfo, load_encoder
    from lampc.backend.errors import (
        BackendError,
        BadGrammar,
        CheckpointError,
        ContextTooLong,
        EngineClosed,
        EngineFailed,
        OutOfBlocks,
        QueueFull,
        RequestFailed,
        TextTooLong,
        UnknownArchitecture,
        UnknownOption,
        Unsupported,
    )
    from lampc.backend.facade import Engine
    from lampc.backend.fake import FakeEngine
    from lampc.backend.hooks import Hook, RequestEvent, StepEvent
    from lampc.backend.load import load_engine
    from lampc.backend.metrics import EngineMetrics, RequestMetrics
    from lampc.backend.request import Completion, Handle, PrefixRef, Request, Sampling, State
    from lampc.backend.results import Chosen, Generation, Scored
    from lampc.backend.tokenizer import ByteTokenizer, TextTokenizer, Tokenizer

_HOMES = {
    "BackendError": "errors",
    "BadGrammar": "errors",
    "ByteTokenizer": "tokenizer",
    "CheckpointError": "errors",
    "Chosen": "results",
    "Completion": "request",
    "ContextTooLong": "errors",
    "Encoder": "encoder",
    "EncoderInfo": "encoder",
    "Engine": "facade",
    "EngineClosed": "errors",
    "EngineFailed": "errors",
    "EngineInfo": "api",
    "EngineMetrics": "metrics",
    "EngineStats": "api",
    "FakeEngine": "fake",
    "Generation": "results",
    "Handle": "request",
    "Hook": "hooks",
    "OutOfBlocks": "errors",
    "PrefixRef": "request",
    "QueueFull": "errors",
    "Request": "request",
    "RequestEvent": "hooks",
    "RequestFailed": "errors",
    "RequestMetrics": "metrics",
    "Sampling": "request",
    "Scored": "results",
    "State": "request",
    "StepEvent": "hooks",
    "TextTokenizer": "tokenizer",
    "TextTooLong": "errors",
    "TokenEngine": "api",
    "Tokenizer": "tokenizer",
    "UnknownArchitecture": "errors",
    "UnknownOption": "errors",
    "Unsupported": "errors",
    "load_encoder": "encoder",
    "load_engine": "load",
}

__all__ = [
    "BackendError",
    "BadGrammar",
    "ByteTokenizer",
    "CheckpointError",
    "Chosen",
    "Completion",
    "ContextTooLong",
    "Encoder",
    "EncoderInfo",
    "Engine",
    "EngineClosed",
    "EngineFailed",
    "EngineInfo",
    "EngineMetrics",
    "EngineStats",
    "FakeEngine",
    "Generation",
    "Handle",
    "Hook",
    "OutOfBlocks",
    "PrefixRef",
    "QueueFull",
    "Request",
    "RequestEvent",
    "RequestFailed",
    "RequestMetrics",
    "Sampling",
    "Scored",
    "State",
    "StepEvent",
    "TextTokenizer",
    "TextTooLong",
    "TokenEngine",
    "Tokenizer",
    "UnknownArchitecture",
    "UnknownOption",
    "Unsupported",
    "load_encoder",
    "load_engine",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)  # functions import names often
    return found
