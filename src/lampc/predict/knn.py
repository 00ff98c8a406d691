"""`lampc.predict.knn`: the path that `dspy.predict.knn` has."""

from lampc.frontend.python.modules.knn import KNN

__all__ = ["KNN"]
