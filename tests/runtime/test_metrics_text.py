"""Metrics of texts against DSPy's own; intervals and tests of differences against what is known of them."""

from __future__ import annotations

import io
import itertools
import random
from contextlib import redirect_stdout
from typing import Any

import dspy
import pytest
from dspy.evaluate import metrics as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

import lampc
from lampc.runtime.evaluation import compare, stats, text
from lampc.runtime.evaluation.result import EvaluationResult
from lampc.runtime.evaluation.scoring import Scored
from lampc.runtime.evaluation.stats import mean_interval, permutation_p
from lampc.runtime.types import Row

WORDS = st.sampled_from(
    ["the", "a", "An", "cat", "Cat's", "mat", "yes", "no", "noanswer", "é", "á", "x-y", "…", "§", "1.5"]
)
KNOWN = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cn", "Cs"])  # to any version of Unicode's tables
TEXTS = st.lists(WORDS, max_size=5).map(" ".join) | st.text(KNOWN, max_size=8)
SCORES = ["normalize_text", "em_score", "f1_score", "hotpot_f1_score", "precision_score"]


def quietly(function: Any, *args: Any, **more: Any) -> Any:
    with redirect_stdout(io.StringIO()):  # DSPy prints where both texts are empty
        try:
            return function(*args, **more)
        except Exception as e:
            return type(e)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_scores_of_two_texts(one: str, two: str) -> None:
    for name in SCORES:
        args = (one,) if name == "normalize_text" else (one, two)
        assert getattr(text, name)(*args) == pytest.approx(quietly(getattr(theirs, name), *args))


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.one_of(st.lists(TEXTS, min_size=1, max_size=3), TEXTS), st.sampled_from([1.0, 0.5, 0.9]))
def test_scores_of_an_answer(prediction: str, answers: Any, frac: float) -> None:
    for name in ("EM", "F1", "HotPotF1"):
        ours = quietly(getattr(text, name), prediction, answers)
        assert ours == quietly(getattr(theirs, name), prediction, answers) or ours == pytest.approx(
            quietly(getattr(theirs, name), prediction, answers)
        )
    pairs = [(package.Example(answer=answers), package.Prediction(answer=prediction)) for package in (lampc, dspy)]
    ours = text.answer_exact_match(*pairs[0], frac=frac)
    assert ours == quietly(theirs.answer_exact_match, *pairs[1], frac=frac)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=3), st.one_of(st.lists(TEXTS, max_size=2), TEXTS))
def test_passages_that_hold_the_answer(passages: list[str], answers: Any) -> None:
    pairs = [(package.Example(answer=answers), package.Prediction(context=passages)) for package in (lampc, dspy)]
    assert text.answer_passage_match(*pairs[0]) == quietly(theirs.answer_passage_match, *pairs[1])


def test_bad_answers_are_named() -> None:
    with pytest.raises(ValueError, match="not int"):
        text.answer_exact_match(lampc.Example(answer=3), lampc.Prediction(answer="3"))
    with pytest.raises(ValueError, match="answers are a list of texts, not str"):
        text.EM("a", "a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no answers"):
        text.F1("a", [])


# -- intervals and differences ------------------------------------------------------------------------------


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng, hits = random.Random(0), 0
    for trial in range(200):
        drawn = [float(rng.random() < 0.3) for _ in range(60)]
        found = mean_interval(drawn, draws=1000, seed=trial)
        hits += found.low <= 0.3 <= found.high
    assert 178 <= hits <= 199
    assert mean_interval([0.5] * 9).low == mean_interval([0.5] * 9).high == 0.5
    assert mean_interval([0.0, 1.0] * 50, level=0.5).low > mean_interval([0.0, 1.0] * 50).low
    with pytest.raises(ValueError, match="needs values"):
        mean_interval([])


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=6))
def test_the_exact_test_tries_all_signs(differences: list[int]) -> None:
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((-1, 1), repeat=len(differences))]  # fmt: skip
    wanted = sum(s >= abs(sum(differences)) for s in sums) / len(sums)
    assert permutation_p(differences) == pytest.approx(wanted)


def test_the_drawn_test_is_near_the_exact_one_and_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = [1.0] * 11 + [-1.0] * 3
    exact = permutation_p(differences)
    monkeypatch.setattr(stats, "_EXACT", 0)
    assert permutation_p(differences, draws=20_000) == pytest.approx(exact, abs=0.01)
    rng = random.Random(1)
    alarms = sum(permutation_p([rng.gauss(0, 1) for _ in range(30)], draws=500) < 0.05 for _ in range(200))
    assert alarms < 20


def result(*scores: float) -> EvaluationResult:
    rows = [(lampc.Example(q=i), lampc.Prediction(), s) for i, s in enumerate(scores)]
    made = EvaluationResult(0.0, rows)  # type: ignore[arg-type]
    made._scored = [Scored(Row(str(i), {}), e, p, s, s) for i, (e, p, s) in enumerate(rows)]
    return made


def test_two_programs_are_compared_row_by_row() -> None:
    before, after = [0.0] * 20 + [1.0] * 20, [1.0] * 12 + [0.0] * 10 + [1.0] * 18
    found = compare(result(*before), result(*after))
    assert (found.before, found.after, found.difference.mean) == (50.0, 75.0, 25.0)
    assert (len(found.better), found.worse, found.same) == (12, (20, 21), 26)
    assert found.difference.low > 5
    assert found.p == permutation_p([a - b for a, b in zip(after, before, strict=True)])
    assert found.p < 0.05
    assert str(found).startswith("50.00 -> 75.00: difference 25.0 [")
    assert compare(before, after) == found == result(*before).compare(result(*after))
    other = result(*after)
    other.results[3] = (lampc.Example(q="else"), lampc.Prediction(), 1.0)
    with pytest.raises(ValueError, match="row 3 is another example"):
        compare(result(*before), other)
    with pytest.raises(ValueError, match="at least one: 1 and 2"):
        compare([1.0], [1.0, 2.0])


def test_names_stand_where_dspy_has_them() -> None:
    from lampc.evaluate import EM, SemanticF1, metrics
    from lampc.evaluate.auto_evaluation import SemanticF1 as judge
    from lampc.evaluate.metrics import answer_exact_match

    assert answer_exact_match is metrics.answer_exact_match is lampc.evaluate.answer_exact_match
    assert judge is SemanticF1
    assert EM is metrics.EM
    assert set(dspy.evaluate.__all__) <= set(lampc.evaluate.__all__)
    missing = [n for n in vars(theirs) if n[0] not in "_" and callable(getattr(theirs, n)) and not hasattr(metrics, n)]
    assert missing == ["Counter", "print_message"]  # what that module itself imports
