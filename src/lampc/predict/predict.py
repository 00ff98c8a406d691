"""`lampc.predict.predict`: the path that `dspy.predict.predict` has."""

from lampc.frontend.python.predict import Predict

__all__ = ["Predict"]
