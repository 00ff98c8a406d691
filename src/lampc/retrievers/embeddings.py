"""`lampc.retrievers.embeddings`: the path that `dspy.retrievers.embeddings` has."""

from lampc.runtime.retrieval.embeddings import Embeddings, EmbeddingsWithScores

__all__ = ["Embeddings", "EmbeddingsWithScores"]
