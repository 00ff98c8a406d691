"""`lampc.primitives.prediction`: the path that `dspy.primitives.prediction` has."""

from lampc.frontend.python.example import Completions, Prediction

__all__ = ["Completions", "Prediction"]
