"""`lampc.predict.parameter`: the path that `dspy.predict.parameter` has."""

from lampc.frontend.python.module import Parameter

__all__ = ["Parameter"]
