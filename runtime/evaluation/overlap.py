"""BLEU and ROUGE as metrics, computed by well-known packages: sacrebleu and rouge-score (extra `metrics`)."""

from __future__ import annotations

from functools import cache
from typing import Any

from lampc.frontend.python.example import Example

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Bleu:
    """Sentence BLEU of an output field against one reference or several, 0 to 1.

    Smoothing and tokenisation are sacrebleu's defaults (Post, "A Call for Clarity in Reporting BLEU Scores", 2018);
    orders that a short text cannot have are left out. Raises ImportError without the package.
    """

    def __init__(self, field: str = "answer", reference: str = "") -> None:
        self.field, self.reference = field, reference or field
        self.__name__ = "bleu"
        self._scorer = _bleu()

    def __call__(self, example: Example, prediction: Any, trace: Any = None) -> float:
        found = self._scorer.sentence_score(str(prediction[self.field]), _references(example, self.reference))
        return min(1.0, float(found.score) / 100)


class Rouge:
    """F-measure of ROUGE of an output field, the best over the references, 0 to 1.

    `kind` is `rouge1`, `rouge2`, `rougeL` or `rougeLsum` (Lin, "ROUGE: A Package for Automatic Evaluation of
    Summaries", 2004). Raises ImportError without the package, ValueError for another kind.
    """

    def __init__(self, field: str = "answer", reference: str = "", *, kind: str = "rougeL", stem: bool = False) -> None:
        if kind not in KINDS:
            raise ValueError(f"there is no ROUGE {kind!r}; there are {', '.join(KINDS)}")
        self.field, self.reference, self.kind = field, reference or field, kind
        self.__name__ = kind
        self._scorer = _rouge(kind, stem)

    def __call__(self, example: Example, prediction: Any, trace: Any = None) -> float:
        references = _references(example, self.reference)
        return float(self._scorer.score_multi(references, str(prediction[self.field]))[self.kind].fmeasure)


def _references(example: Example, name: str) -> list[str]:
    found = example[name]
    texts = [str(t) for t in found] if isinstance(found, list | tuple) else [str(found)]
    if not texts:
        raise ValueError(f"`{name}` of the example is an empty list: there is nothing to compare with")
    return texts


@cache
def _bleu() -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise ImportError("BLEU needs the package sacrebleu: pip install 'lampc[metrics]'") from None
    return BLEU(effective_order=True)


@cache
def _rouge(kind: str, stem: bool) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise ImportError("ROUGE needs the package rouge-score: pip install 'lampc[metrics]'") from None
    return RougeScorer([kind], use_stemmer=stem)
