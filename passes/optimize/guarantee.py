"""Which answers of a cheap model may stand, so that what is promised of all answers holds with probability 1 - delta.

Thresholds of the cheap model's scores are tested from the strictest on, each by an exact binomial test of "the promise
is broken" at level delta; the first that is not rejected ends it, and the threshold before is taken. As the order is
fixed before any data is seen, no correction for the number of tests is needed (fixed-sequence testing: Angelopoulos et
al. 2021, "Learn then Test", arXiv:2110.01052, section 3; thresholds of cascades from high to low until one fails:
Zeighami et al. 2025, "Cut Costs, Not Accuracy" (BARGAIN), arXiv:2509.02896). The tests are those of Clopper and Pearson
(1934), exact for any number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PROMISES = ("accuracy", "precision", "recall")
"""Of all answers, the share that equals the oracle's; of the answers that are positive, the share that are so by the
oracle; of those that are positive by the oracle, the share whose answers are."""

GRID: tuple[float, ...] = (*(1 / (1 + math.exp(-(12 - n / 4))) for n in range(73)), 0.0)
"""The thresholds, the strictest first: probabilities evenly spaced in log-odds, then 0. They hang on no data."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One row: the probability that the proxy gave to its answer (below 0: its answer cannot be read), and the answers
    of proxy and oracle as texts; None for an oracle that was not asked."""

    score: float
    proxy: str
    oracle: str | None = None

    @property
    def agrees(self) -> bool:
        return self.proxy == self.oracle


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold and what is known of it: of `cases` that the promise speaks of `errors` broke it, so with probability
    1 - delta its share is at least `bound`. `stands` is the share of rows whose answers would be the proxy's."""

    threshold: float
    cases: int
    errors: int
    bound: float
    stands: float


def tail(errors: int, cases: int, rate: float) -> float:
    """P(X <= errors) for X binomial of so many cases, each an error at this rate."""
    if rate <= 0.0 or errors >= cases:
        return 1.0
    if rate >= 1.0:
        return 0.0
    ratio, log = math.log(rate) - math.log1p(-rate), cases * math.log1p(-rate)
    terms = [log]
    for k in range(errors):
        log += math.log(cases - k) - math.log(k + 1) + ratio
        terms.append(log)
    top = max(terms)
    return min(1.0, math.exp(top) * math.fsum(math.exp(t - top) for t in terms))


def upper(errors: int, cases: int, delta: float) -> float:
    """The highest rate of errors that so few of them do not refute at level delta (one-sided Clopper-Pearson)."""
    if errors >= cases:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(errors, cases, middle) > delta else (low, middle)
    return high


def needed(promise: str, rows: Sequence[Judged], threshold: float) -> list[int]:
    """Rows whose oracle must have been asked to test a threshold: for accuracy those whose proxy would be believed (no
    other can be wrong), else all."""
    return [i for i, r in enumerate(rows) if r.oracle is None and (promise != "accuracy" or r.score >= threshold)]


def counted(promise: str, rows: Sequence[Judged], threshold: float, positive: str) -> tuple[int, int]:
    """(errors, cases) of a promise at a threshold, on rows whose oracles were asked as far as needed."""
    if promise == "accuracy":
        return sum(r.score >= threshold and not r.agrees for r in rows), len(rows)
    if promise == "recall":
        found = [r for r in rows if r.oracle == positive]
        return sum(r.score >= threshold and r.proxy != positive for r in found), len(found)
    said = [r for r in rows if (r.proxy if r.score >= threshold else r.oracle) == positive]
    return sum(r.oracle != positive for r in said), len(said)


def shown(
    promise: str, rows: Sequence[Judged], threshold: float, target: float, delta: float, positive: str = ""
) -> Choice | None:
    """What is known of a threshold; None if the test does not show that its promise is kept."""
    errors, cases = counted(promise, rows, threshold, positive)
    if not cases or tail(errors, cases, 1 - target) > delta:
        return None
    stands = sum(r.score >= threshold for r in rows) / len(rows)
    return Choice(threshold, cases, errors, 1 - upper(errors, cases, delta), stands)


def least_rows(target: float, delta: float) -> int:
    """How many cases are needed to show a promise of which none breaks it."""
    return math.ceil(math.log(delta) / math.log(target))


__all__ = ["GRID", "PROMISES", "Choice", "Judged", "counted", "least_rows", "needed", "shown", "tail", "upper"]
