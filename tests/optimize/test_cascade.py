"""Cascades: what they promise holds as often as they say, and the oracle is asked no more than that takes."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir import freeze
from lampc.passes.optimize import Cascade, OptimizeError, RunJob, RunResult, TracedCall, optimizer
from lampc.passes.optimize.cascade import Calibration, cascades, told
from lampc.passes.optimize.guarantee import GRID, Judged, counted, least_rows, needed, shown, tail, upper
from lampc.passes.optimize.protocol import Example, Problem

UNIT = compile_lmp(
    """
model small = engine("firefly");
signature Sort(n: int) -> (kind: "yes" | "no") { \"\"\"Sort.\"\"\" }
module Main(n: int) -> (kind: "yes" | "no") { use sort = Predict(Sort); let s = sort(n: n); return (kind: s.kind); }
"""
)
SORT = "sort"


@dataclass(frozen=True)
class Kind:
    """Rows of one kind: their share of all, the proxy's probability, both answers."""

    share: float
    score: float
    proxy: str
    oracle: str


def kept(kinds: Sequence[Kind], promised: str, threshold: float) -> float:
    """How much of what is promised holds of all rows there are, exactly."""
    rows = [(k, k.proxy if k.score >= threshold else k.oracle) for k in kinds]
    match promised:
        case "accuracy":
            return math.fsum(k.share for k, said in rows if said == k.oracle)
        case "recall":
            found = [(k.share, said) for k, said in rows if k.oracle == "yes"]
            return math.fsum(s for s, said in found if said == "yes") / math.fsum(s for s, _ in found)
    found = [(k.share, k.oracle) for k, said in rows if said == "yes"]
    return math.fsum(s for s, oracle in found if oracle == "yes") / math.fsum(s for s, _ in found)


def problem(rows: int) -> Problem:
    return Problem(UNIT.module, tuple(Example({"n": i}, {}) for i in range(rows)), 0)


def calibrated(options: Cascade, drawn: Sequence[Kind], batch: int = 1000) -> tuple[Calibration, int]:
    """The search on rows drawn from a population; and how often the oracle was asked."""
    found, labels = options.begin(problem(len(drawn))), 0
    assert isinstance(found, Calibration)
    while not found.done:
        jobs = found.ask(batch)
        assert jobs
        for job in jobs:
            assert isinstance(job, RunJob)
            kind = drawn[job.row]
            asked = cascades(job.assignment)
            labels += not asked
            said, score = (kind.proxy, math.log(kind.score)) if asked else (kind.oracle, None)
            call = TracedCall(SORT, freeze({"n": job.row}), freeze({"kind": said}), score=score)
            found.tell(job, RunResult(1.0, (call,)))
    return found, labels


SURE = 1 - 1e-4
HARD: dict[str, tuple[float, list[Kind]]] = {  # at the lower threshold a hair less than what is promised
    "accuracy": (
        0.9,
        [
            Kind(0.4, SURE, "yes", "yes"),
            Kind(0.49, 0.9, "no", "no"),
            Kind(0.101, 0.9, "yes", "no"),
            Kind(0.009, 0.1, "no", "yes"),
        ],
    ),
    "recall": (
        0.8,
        [
            Kind(0.3, SURE, "yes", "yes"),
            Kind(0.098, 0.9, "yes", "yes"),
            Kind(0.101, 0.9, "no", "yes"),
            Kind(0.501, 0.9, "no", "no"),
        ],
    ),
    "precision": (
        0.8,
        [
            Kind(0.3, SURE, "yes", "yes"),
            Kind(0.1, 0.9, "yes", "yes"),
            Kind(0.101, 0.9, "yes", "no"),
            Kind(0.499, 0.9, "no", "no"),
        ],
    ),
}


def naive(promised: str, rows: Sequence[Judged], target: float, positive: str) -> float:
    """The lowest threshold at which the promise holds on the sample."""
    for threshold in reversed(GRID):
        errors, cases = counted(promised, rows, threshold, positive)
        if cases and 1 - errors / cases >= target:
            return threshold
    return math.inf


@pytest.mark.parametrize("promised", HARD)
@pytest.mark.parametrize("seeds", [range(200), pytest.param(range(5000), marks=pytest.mark.slow)])
def test_what_is_promised_is_broken_no_more_often_than_said(promised: str, seeds: range) -> None:
    target, kinds = HARD[promised]
    assert math.fsum(k.share for k in kinds) == pytest.approx(1)
    assert kept(kinds, promised, 0.5) < target < kept(kinds, promised, 0.95)
    delta, positive = 0.1, "" if promised == "accuracy" else "yes"
    options = Cascade("small", target=target, delta=delta, promised=promised, positive=positive)
    broken = naively = taken = 0
    for seed in seeds:
        rng = random.Random(seed)
        drawn = rng.choices(kinds, [k.share for k in kinds], k=120)
        found, _ = calibrated(options, drawn)
        for cascade in cascades(found.best).values():
            taken += 1
            broken += kept(kinds, promised, cascade.threshold) < target
            assert cascade.record.get("bound") >= target
        judged = [Judged(k.score, k.proxy, k.oracle) for k in drawn]
        naively += kept(kinds, promised, naive(promised, judged, target, positive)) < target
    runs = len(seeds)
    print(f"{promised}: broken {broken} of {runs} (delta {delta}), by the sample alone {naively}, cascades {taken}")
    assert 1 - tail(broken - 1, runs, delta) > 1e-4, "more often than delta, by an exact test"
    assert 1 - tail(naively - 1, runs, delta) < 1e-12, "the population is one that breaks careless choices"
    assert taken > 0.9 * runs


def test_the_oracle_is_asked_where_the_proxy_is_believed_and_no_further() -> None:
    rng, rows = random.Random(1), 400
    drawn = [
        Kind(0, SURE, "yes", "yes") if rng.random() < 0.5
        else Kind(0, 0.55, rng.choice(["yes", "no"]), "yes") if rng.random() < 0.5
        else Kind(0, 0.05, "no", "yes")
        for _ in range(rows)
    ]  # fmt: skip
    found, labels = calibrated(Cascade("small", target=0.95, delta=0.05), drawn, batch=7)
    (cascade,) = cascades(found.best).values()
    record = dict(cascade.record)
    assert 0.55 < cascade.threshold <= SURE
    assert labels == record["labels"] == sum(k.score >= 0.55 for k in drawn), "none of those that are surely left out"
    assert (record["errors"], record["cases"], record["rows"]) == (0, rows, rows)
    assert record["bound"] == pytest.approx(0.05 ** (1 / rows))
    assert record["stands"] == sum(k.score == SURE for k in drawn) / rows
    assert "accuracy against the oracle >= 0.99" in told(cascade)
    assert found.history[0].facts.get("label") == "G"


def test_a_budget_of_labels_is_kept_and_what_was_shown_by_then_holds() -> None:
    drawn = [Kind(0, SURE, "yes", "yes")] * 40 + [Kind(0, 0.7, "yes", "yes")] * 40
    found, labels = calibrated(Cascade("small", target=0.9, budget=60), drawn)
    (cascade,) = cascades(found.best).values()
    assert labels == 40
    assert cascade.threshold > 0.7
    found, labels = calibrated(Cascade("small", target=0.9), drawn)
    (cascade,) = cascades(found.best).values()
    assert labels == 80
    assert cascade.threshold == 0.0
    found, labels = calibrated(Cascade("small", target=0.9, budget=10), drawn)
    assert not cascades(found.best)
    assert labels == 0


def test_nothing_is_changed_if_nothing_can_be_shown() -> None:
    rng = random.Random(0)
    drawn = [Kind(0, SURE, rng.choice(["yes", "no"]), rng.choice(["yes", "no"])) for _ in range(100)]
    found, _ = calibrated(Cascade("small"), drawn)
    assert found.best == problem(1).start
    assert "no threshold can be shown" in found.history[0].note


def test_answers_that_cannot_be_read_never_stand_and_failing_oracles_count_as_disagreement() -> None:
    options, rows = Cascade("small", target=0.9), 60
    found = options.begin(problem(rows))
    while not found.done:
        for job in found.ask(100):
            assert isinstance(job, RunJob)
            asked = bool(cascades(job.assignment))
            broken = job.row < 20
            call = TracedCall(
                SORT, freeze({"n": job.row}), freeze({} if asked and broken else {"kind": "yes"}),
                error="unreadable" if asked and broken else "", score=-0.01 if asked and not broken else None,
            )  # fmt: skip
            failed = not asked and 20 <= job.row < 24
            found.tell(job, RunResult(0.0, () if failed else (call,)))
    assert not cascades(found.best), "four of sixty is too much for 0.9"
    judged = [Judged(-1.0, "?", None)] * 3 + [Judged(0.9, "a", None)]
    assert needed("accuracy", judged, 0.0) == [3]
    assert needed("recall", judged, 0.99) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proxy": "nobody"}, "defines no model `nobody`"),
        ({"proxy": "main"}, "is the model of `sort` already"),
        ({"target": 1.0}, "shares between 0 and 1"),
        ({"promised": "luck"}, "one of accuracy, precision, recall"),
        ({"promised": "recall"}, "`positive` is needed"),
        ({"positive": "yes"}, "accuracy knows none"),
        ({"predictor": "other"}, "no predictor `other`"),
        ({"outputs": ("what",)}, "no output `what`"),
        ({"target": 0.99}, "at least 299 are needed"),
        ({"rows": -1}, "cannot be negative"),
    ],
)
def test_what_cannot_be_promised_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizeError, match=message):
        Cascade(**{"proxy": "small", **options}).begin(problem(100))


def test_a_predictor_called_twice_in_a_row_is_refused() -> None:
    found = Cascade("small").begin(problem(100))
    (job, *_) = found.ask(1)
    call = TracedCall(SORT, freeze({"n": 0}), freeze({"kind": "yes"}), score=-0.1)
    with pytest.raises(OptimizeError, match="called 2 times in a row"):
        found.tell(job, RunResult(1.0, (call, call)))


def test_a_source_file_may_ask_for_it() -> None:
    made = optimizer("cascade", {"proxy": "small", "target": 0.9})
    assert made == Cascade("small", target=0.9)
    with pytest.raises(OptimizeError, match="needs its option `proxy`"):
        optimizer("cascade", {})


def test_bounds_are_exact() -> None:
    def brute(errors: int, cases: int, rate: float) -> float:
        return math.fsum(math.comb(cases, k) * rate**k * (1 - rate) ** (cases - k) for k in range(errors + 1))

    for cases, rate in itertools.product((1, 7, 60, 300), (0.003, 0.1, 0.5, 0.97)):
        for errors in range(0, cases, max(1, cases // 9)):
            assert tail(errors, cases, rate) == pytest.approx(brute(errors, cases, rate), rel=1e-9, abs=1e-200)
            high = upper(errors, cases, 0.05)
            assert tail(errors, cases, high) == pytest.approx(0.05, rel=1e-6)
    assert upper(5, 5, 0.05) == 1.0
    assert [least_rows(t, 0.05) for t in (0.9, 0.95, 0.99)] == [29, 59, 299]
    assert shown("accuracy", [Judged(1.0, "a", "a")] * 28, 0.5, 0.9, 0.05) is None
    assert shown("accuracy", [Judged(1.0, "a", "a")] * 29, 0.5, 0.9, 0.05) is not None
