"""Retrieval: stores of passages behind one protocol, and the desk that batches and keeps what programs look up."""

from lampc.runtime.retrieval.bm25 import BM25
from lampc.runtime.retrieval.chroma import ChromaStore
from lampc.runtime.retrieval.colbert import ColBERTv2
from lampc.runtime.retrieval.desk import RetrievalDesk
from lampc.runtime.retrieval.embedder import Embedder
from lampc.runtime.retrieval.protocol import Retriever, RetrieverError, Store, as_store
from lampc.runtime.retrieval.vectors import FaissStore, Vectors

__all__ = [
    "BM25",
    "ChromaStore",
    "ColBERTv2",
    "Embedder",
    "FaissStore",
    "RetrievalDesk",
    "Retriever",
    "RetrieverError",
    "Store",
    "Vectors",
    "as_store",
]
