"""`lampc.retrievers.retrieve`: the path that `dspy.retrievers.retrieve` has."""

from lampc.frontend.python.retrieval import Retrieve

__all__ = ["Retrieve"]
