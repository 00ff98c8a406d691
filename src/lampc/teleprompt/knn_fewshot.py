"""`lampc.teleprompt.knn_fewshot`: the path that `dspy.teleprompt.knn_fewshot` has."""

from lampc.runtime.optimizers.knn import KNNFewShot

__all__ = ["KNNFewShot"]
