"""How sure a mean over rows is: percentile bootstrap over rows, and over paired differences of rows.

Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 13.3. Draws are seeded: the same scores give the
same interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lampc.passes.resample import resampled_means
from lampc.runtime.report import Interval

DRAWS = 2000


def row_interval(scores: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean of row scores (0 to 1) and its 95 % interval for other rows of the same kind, times 100.

    Raises ValueError for no scores.
    """
    if not len(scores):
        raise ValueError("an interval needs at least one score")
    values = np.asarray(scores, np.float64) * 100
    means = resampled_means(values, draws, seed)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


def paired_gain(before: Sequence[float], after: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean difference `after - before` of scores of the same rows in the same order, and its 95 % interval, times 100.

    Raises ValueError if the two differ in length or are empty.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} and {len(after)} scores: a paired interval needs the same rows")
    return row_interval(np.asarray(after, np.float64) - np.asarray(before, np.float64), draws=draws, seed=seed)  # type: ignore[arg-type]
