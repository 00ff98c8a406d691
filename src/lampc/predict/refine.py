"""`lampc.predict.refine`: the path that `dspy.predict.refine` has."""

from lampc.frontend.python.modules.refine import Refine

__all__ = ["Refine"]
