"""`lampc.clients.embedding`: the path that `dspy.clients.embedding` has."""

from lampc.runtime.retrieval.embedder import Embedder

__all__ = ["Embedder"]
