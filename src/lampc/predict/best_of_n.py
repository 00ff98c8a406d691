"""`lampc.predict.best_of_n`: the path that `dspy.predict.best_of_n` has."""

from lampc.frontend.python.modules.best_of_n import BestOfN

__all__ = ["BestOfN"]
