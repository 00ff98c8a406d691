"""Evaluation: a program scored on labelled examples, with intervals, breakdowns and comparisons."""

from lampc.runtime.evaluation.compare import Comparison, compare
from lampc.runtime.evaluation.evaluate import Evaluate, TooManyErrors
from lampc.runtime.evaluation.result import EvaluationResult

__all__ = ["Comparison", "Evaluate", "EvaluationResult", "TooManyErrors", "compare"]
