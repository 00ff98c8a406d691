"""Two programs on the same rows: how much they differ, how sure that is, and on which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampc.runtime.evaluation.stats import DRAWS, mean_interval, permutation_p
from lampc.runtime.report import Interval

if TYPE_CHECKING:
    from lampc.runtime.evaluation.result import EvaluationResult


@dataclass(frozen=True, slots=True)
class Comparison:
    """`after` minus `before` on the same rows; scores and `difference` are 0 to 100.

    `difference` holds the mean and its interval (paired bootstrap), `p` the chance of a mean difference at least as
    large if the programs do not differ (paired permutation test, two-sided). `better` and `worse` are indices of rows.
    """

    before: float
    after: float
    difference: Interval
    p: float
    better: tuple[int, ...]
    worse: tuple[int, ...]
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.before:.2f} -> {self.after:.2f}: difference {self.difference}, p = {self.p:.2g} "
            f"({len(self.better)} rows better, {len(self.worse)} worse, {self.same} same)"
        )

    @property
    def same(self) -> int:
        return self.rows - len(self.better) - len(self.worse)


def compare(
    before: EvaluationResult | Sequence[float],
    after: EvaluationResult | Sequence[float],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare two results, or the scores (0 to 1) of two programs, row by row.

    Raises ValueError if they are not of the same rows in the same order, or there are none.
    """
    from lampc.runtime.evaluation.result import EvaluationResult

    if isinstance(before, EvaluationResult) and isinstance(after, EvaluationResult):
        pairs = zip(before.results, after.results, strict=False)
        differing = next((i for i, (b, a) in enumerate(pairs) if b[0] != a[0]), None)
        if differing is not None:
            raise ValueError(f"row {differing} is another example in the second result: compare the same rows")
    first = before.scores if isinstance(before, EvaluationResult) else tuple(before)
    second = after.scores if isinstance(after, EvaluationResult) else tuple(after)
    if len(first) != len(second) or not first:
        raise ValueError(f"the same rows are needed on both sides, at least one: {len(first)} and {len(second)}")
    gains = [100 * (a - b) for b, a in zip(first, second, strict=True)]
    return Comparison(
        before=100 * sum(first) / len(first),
        after=100 * sum(second) / len(second),
        difference=mean_interval(gains, level=level, draws=draws, seed=seed),
        p=permutation_p(gains, draws=draws, seed=seed),
        better=tuple(i for i, g in enumerate(gains) if g > 0),
        worse=tuple(i for i, g in enumerate(gains) if g < 0),
        rows=len(gains),
    )
