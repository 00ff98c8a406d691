"""`lampc.adapters.two_step_adapter`: the path that `dspy.adapters.two_step_adapter` has."""

from lampc.frontend.python.adapters import TwoStepAdapter

__all__ = ["TwoStepAdapter"]
