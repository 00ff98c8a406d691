"""Intervals of means, and tests of paired differences, by resampling.

Intervals are percentile bootstraps (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). The
test is the paired permutation test of the mean (chapter 15): under the hypothesis that the two programs do not
differ, each difference is as likely with the other sign. All signs are tried where there are few, else drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lampc.passes.resample import resampled_means
from lampc.runtime.report import Interval

if TYPE_CHECKING:
    import numpy as np

DRAWS = 10_000
_EXACT = 14
"""Up to this many differences all signs are tried: 2^14 of them."""
_CELLS = 4_000_000
"""Most numbers held at a time."""


def mean_interval(values: Sequence[float], *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The mean and its bootstrap interval. Raises ValueError for no values, or a level outside of (0, 1)."""
    import numpy as np

    if not values or not 0 < level < 1:
        raise ValueError("an interval needs values, and a level between 0 and 1")
    low, high = np.quantile(resampled_means(values, draws, seed), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.mean(values)), float(low), float(high))


def permutation_p(differences: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> float:
    """How likely a mean difference at least as large, either way, is if nothing differs. 1 if all are zero."""
    import numpy as np

    data = np.asarray([d for d in differences if d], dtype=np.float64)
    if not len(data):
        return 1.0
    seen = abs(data.sum()) * (1 - 1e-12)  # sums in another order may differ in the last bit
    if len(data) <= _EXACT:
        signs = (np.arange(2 ** len(data))[:, None] >> np.arange(len(data)) & 1) * 2.0 - 1
        return float((abs(signs @ data) >= seen).mean())
    rng = np.random.default_rng(seed)
    hits = sum(
        int((abs((rng.integers(0, 2, (n, len(data))) * 2.0 - 1) @ data) >= seen).sum()) for n in _parts(data, draws)
    )
    return (hits + 1) / (draws + 1)


def _parts(data: np.ndarray[Any, Any], draws: int) -> list[int]:
    """`draws` cut so that each part fits into memory."""
    size = max(1, min(draws, _CELLS // len(data)))
    return [min(size, draws - at) for at in range(0, draws, size)]
