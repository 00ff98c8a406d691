"""Evaluation: a program scored on labelled examples, with intervals, breakdowns and comparisons."""

from lampc.runtime.evaluation.evaluate import Evaluate, EvaluationResult

__all__ = ["Evaluate", "EvaluationResult"]
