"""`lampc.predict.rlm`: the path that `dspy.predict.rlm` has."""

from lampc.frontend.python.modules.code_rlm import RLM

__all__ = ["RLM"]
