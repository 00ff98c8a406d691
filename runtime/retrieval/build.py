"""From the definition of a retriever to its store."""

from __future__ import annotations

from pathlib import Path

from lampc.ir.prog import DefRetriever
from lampc.runtime.retrieval.bm25 import BM25
from lampc.runtime.retrieval.corpus import read_corpus
from lampc.runtime.retrieval.protocol import RetrieverError, Store


def build_retriever(op: DefRetriever, base: Path) -> Store:
    """The store that a program declares; relative paths start at `base`. Raises RetrieverError."""
    if op.kind != "bm25":
        raise RetrieverError(f"retriever kind {op.kind!r} is not known; `bm25` is")
    return BM25(read_corpus(base / op.source, op.field))
