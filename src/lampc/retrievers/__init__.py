"""`lampc.retrievers`: stores of passages and retrievers over them, under the names of `dspy.retrievers`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.frontend.python.retrieval import Retrieve, Retriever, retriever
from lampc.ir.lookup import Hit
from lampc.runtime.retrieval import (
    BM25,
    ChromaStore,
    ColBERTv2,
    Embedder,
    FaissStore,
    RetrieverError,
    Store,
    Vectors,
)
from lampc.runtime.retrieval.embeddings import Embeddings, EmbeddingsWithScores

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = [
    "BM25",
    "ChromaStore",
    "ColBERTv2",
    "Embedder",
    "Embeddings",
    "EmbeddingsWithScores",
    "FaissStore",
    "Hit",
    "Retrieve",
    "Retriever",
    "RetrieverError",
    "Store",
    "Vectors",
    "retriever",
]
