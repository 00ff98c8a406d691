"""Metrics of texts under DSPy's names: exact match, F1, passages that hold the answer.

Texts are compared as SQuAD's evaluation does (Rajpurkar et al., 2016): lower case, no punctuation, no English articles,
single spaces; before that, Unicode's canonical decomposition.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = ("yes", "no", "noanswer")
"""Answers that are right or wrong, never nearly right."""


def normalize_text(s: str) -> str:
    """See the module's text."""
    text = unicodedata.normalize("NFD", s).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def em_score(prediction: str, ground_truth: str) -> bool:
    """Whether two texts are equal when normalized."""
    return normalize_text(prediction) == normalize_text(ground_truth)


def f1_score(prediction: str, ground_truth: str) -> float:
    """Harmonic mean of precision and recall of words; 0 where no word is shared, two empty texts included."""
    common, said, wanted = _overlap(prediction, ground_truth)
    if not common:
        return 0.0
    precision, recall = common / said, common / wanted
    return 2 * precision * recall / (precision + recall)


def hotpot_f1_score(prediction: str, ground_truth: str) -> float:
    """As `f1_score`, but `yes`, `no` and `noanswer` share nothing with any other text (HotPotQA's rule)."""
    said, wanted = normalize_text(prediction), normalize_text(ground_truth)
    if said != wanted and (said in _CLOSED or wanted in _CLOSED):
        return 0.0
    return f1_score(prediction, ground_truth)


def precision_score(prediction: str, ground_truth: str) -> float:
    """Share of the prediction's words that the other text has."""
    common, said, _ = _overlap(prediction, ground_truth)
    return common / said if common else 0.0


def EM(prediction: str, answers_list: list[str]) -> bool:
    """Whether any answer equals the prediction. Raises ValueError unless the answers are a list."""
    return bool(_best(em_score, prediction, answers_list))


def F1(prediction: str, answers_list: list[str]) -> float:
    """The best `f1_score` over the answers. Raises ValueError unless they are a list."""
    return float(_best(f1_score, prediction, answers_list))


def HotPotF1(prediction: str, answers_list: list[str]) -> float:
    """The best `hotpot_f1_score` over the answers. Raises ValueError unless they are a list."""
    return float(_best(hotpot_f1_score, prediction, answers_list))


def answer_exact_match(example: Any, pred: Any, trace: Any = None, frac: float = 1.0) -> bool:
    """Whether `pred.answer` is one of `example.answer` (a text or a list); with `frac` < 1, whether its F1 reaches it.

    Raises ValueError for an answer of another type.
    """
    answers = _answers(example)
    return EM(pred.answer, answers) if frac >= 1.0 else F1(pred.answer, answers) >= frac


def answer_passage_match(example: Any, pred: Any, trace: Any = None) -> bool:
    """Whether a passage of `pred.context` holds an answer of `example.answer`, as a run of whole words.

    Words are those of Dense Passage Retrieval's evaluation (Karpukhin et al., 2020). Raises ValueError for an answer
    that is neither a text nor a list.
    """
    answers = [_words(normalize_text(a)) for a in _answers(example)]
    return any(_holds(_words(normalize_text(p)), a) for p in pred.context for a in answers)


def _answers(example: Any) -> list[str]:
    found = example.answer
    if isinstance(found, str):
        return [found]
    if isinstance(found, list):
        return found
    raise ValueError(f"`answer` of an example is a text or a list of texts, not {type(found).__name__}")


def _best(score: Callable[[str, str], Any], prediction: str, answers: Any) -> Any:
    if not isinstance(answers, list):
        raise ValueError(f"answers are a list of texts, not {type(answers).__name__}")
    if not answers:
        raise ValueError("there are no answers to compare with")
    return max(score(prediction, a) for a in answers)


def _overlap(prediction: str, ground_truth: str) -> tuple[int, int, int]:
    """(words in common, words of the prediction, words of the other)."""
    said, wanted = normalize_text(prediction).split(), normalize_text(ground_truth).split()
    return (Counter(said) & Counter(wanted)).total(), len(said), len(wanted)


def _words(text: str) -> list[str]:
    """Runs of letters, digits and marks, and every other visible character by itself, in lower case."""
    out: list[str] = []
    inside = False
    for char in text:
        kind = unicodedata.category(char)[0]
        if kind in "LNM":
            if inside:
                out[-1] += char
            else:
                out.append(char)
        elif kind not in "ZC":
            out.append(char)
        inside = kind in "LNM"
    return [w.lower() for w in out]


def _holds(words: Sequence[str], run: Sequence[str]) -> bool:
    return any(words[i : i + len(run)] == run for i in range(len(words) - len(run) + 1))
