"""`lampc.evaluate`: evaluation, judges, metrics of texts and comparison, under the names of `dspy.evaluate`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.evaluate import metrics
from lampc.runtime.evaluation.compare import Comparison, compare
from lampc.runtime.evaluation.evaluate import Evaluate, TooManyErrors
from lampc.runtime.evaluation.judges import CompleteAndGrounded, SemanticF1
from lampc.runtime.evaluation.overlap import Bleu, Rouge
from lampc.runtime.evaluation.result import EvaluationResult
from lampc.runtime.evaluation.text import EM, F1, HotPotF1, answer_exact_match, answer_passage_match, normalize_text

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = [
    "EM",
    "F1",
    "Bleu",
    "Comparison",
    "CompleteAndGrounded",
    "Evaluate",
    "EvaluationResult",
    "HotPotF1",
    "Rouge",
    "SemanticF1",
    "TooManyErrors",
    "answer_exact_match",
    "answer_passage_match",
    "compare",
    "metrics",
    "normalize_text",
]
