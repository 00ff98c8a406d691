"""`lampc.evaluate.evaluate`: the path that `dspy.evaluate.evaluate` has."""

from lampc.runtime.evaluation.evaluate import Evaluate
from lampc.runtime.evaluation.result import EvaluationResult

__all__ = ["Evaluate", "EvaluationResult"]
