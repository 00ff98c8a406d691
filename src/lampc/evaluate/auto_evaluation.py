"""`lampc.evaluate.auto_evaluation`: judges, under the names of `dspy.evaluate.auto_evaluation`."""

from lampc.runtime.evaluation.judges import (
    AnswerCompleteness,
    AnswerGroundedness,
    CompleteAndGrounded,
    DecompositionalSemanticRecallPrecision,
    SemanticF1,
    SemanticRecallPrecision,
    f1_score,
)

__all__ = [
    "AnswerCompleteness",
    "AnswerGroundedness",
    "CompleteAndGrounded",
    "DecompositionalSemanticRecallPrecision",
    "SemanticF1",
    "SemanticRecallPrecision",
    "f1_score",
]
