"""`lampc.predict.aggregation`: the path that `dspy.predict.aggregation` has."""

from lampc.frontend.python.modules.majority import default_normalize, majority

__all__ = ["default_normalize", "majority"]
