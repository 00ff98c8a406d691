"""`lampc.evaluate.metrics`: metrics of texts, under the names of `dspy.evaluate.metrics`."""

from lampc.runtime.evaluation.text import (
    EM,
    F1,
    HotPotF1,
    answer_exact_match,
    answer_passage_match,
    em_score,
    f1_score,
    hotpot_f1_score,
    normalize_text,
    precision_score,
)

__all__ = [
    "EM",
    "F1",
    "HotPotF1",
    "answer_exact_match",
    "answer_passage_match",
    "em_score",
    "f1_score",
    "hotpot_f1_score",
    "normalize_text",
    "precision_score",
]
