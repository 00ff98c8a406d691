"""A small complete inference engine: token ids in, token ids out.

Paged key/value memory, prefix sharing down to the single token, continuous batching, chunked prefill and
preemption, over models in Hugging Face checkpoint folders. Exact by default: the tokens of a request do not
depend on its neighbours, its chunking or the cache. Importing this package imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "lampc.backend":
    raise ImportError("import lampc.backend, not backend")

if TYPE_CHECKING:
    from lampc.backend.api import EngineInfo, EngineStats, TokenEngine
    from lampc.backend.errors import (
        BackendError,
        CheckpointError,
        ContextTooLong,
        OutOfBlocks,
        UnknownArchitecture,
        Unsupported,
    )
    from lampc.backend.fake import FakeEngine
    from lampc.backend.load import load_engine
    from lampc.backend.request import Completion, Handle, PrefixRef, Request, Sampling, State
    from lampc.backend.tokenizer import ByteTokenizer, TextTokenizer, Tokenizer

_HOMES = {
    "BackendError": "errors",
    "ByteTokenizer": "tokenizer",
    "CheckpointError": "errors",
    "Completion": "request",
    "ContextTooLong": "errors",
    "EngineInfo": "api",
    "EngineStats": "api",
    "FakeEngine": "fake",
    "Handle": "request",
    "OutOfBlocks": "errors",
    "PrefixRef": "request",
    "Request": "request",
    "Sampling": "request",
    "State": "request",
    "TextTokenizer": "tokenizer",
    "TokenEngine": "api",
    "Tokenizer": "tokenizer",
    "UnknownArchitecture": "errors",
    "Unsupported": "errors",
    "load_engine": "load",
}

__all__ = [
    "BackendError",
    "ByteTokenizer",
    "CheckpointError",
    "Completion",
    "ContextTooLong",
    "EngineInfo",
    "EngineStats",
    "FakeEngine",
    "Handle",
    "OutOfBlocks",
    "PrefixRef",
    "Request",
    "Sampling",
    "State",
    "TextTokenizer",
    "TokenEngine",
    "Tokenizer",
    "UnknownArchitecture",
    "Unsupported",
    "load_engine",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
