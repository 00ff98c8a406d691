"""Means of rows drawn anew: the one bootstrap under intervals, comparisons and the gate.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3. Draws are seeded: the same values give the
same means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_AT_ONCE = 4_000_000
"""Most row numbers drawn at a time."""
_KINDS = 64
"""Up to this many different values, how often each is drawn is drawn instead of every row."""

_FEW = 16
"""Up to this many groups, their number squared costs nothing: they are drawn as all published intervals were."""


def resampled_means(values: Sequence[float] | Floats, draws: int, seed: int) -> Floats:
    """`draws` means of as many values as there are, drawn with replacement: float64 of shape (draws,).

    Raises ValueError for no values.
    """
    import numpy as np

    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        raise ValueError("an interval needs at least one value")
    rng, n = np.random.default_rng(seed), len(data)
    kinds, counts = np.unique(data, return_counts=True)
    if len(kinds) <= _KINDS:  # equal values are one kind of row: how many of each are drawn is multinomial
        return np.asarray(rng.multinomial(n, counts / n, size=draws) @ kinds / n, dtype=np.float64)
    step = max(1, _AT_ONCE // n)
    parts = [data[rng.integers(0, n, (min(step, draws - at), n))].mean(axis=1) for at in range(0, draws, step)]
    return np.concatenate(parts)


def resampled_group_means(groups: Sequence[Sequence[float]], draws: int, seed: int) -> Floats:
    """`draws` means of group means, where both the groups and the values within each drawn group are drawn with
    replacement: float64 of shape (draws,). Takes time in proportion to the values of all groups.

    Raises ValueError for no groups, or one without values.
    """
    import numpy as np

    count = len(groups)
    if not count or not all(len(g) for g in groups):
        raise ValueError("an interval needs at least one value")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, count, (draws, count))
    if count <= _FEW:
        return _from_all(groups, drawn, rng.integers(0, 2**63, (count, count)).tolist())
    order = np.argsort(drawn, axis=None, kind="stable")  # where each group was drawn, one group after the other
    times = np.bincount(drawn.ravel(), minlength=count).tolist()
    seeds = rng.integers(0, 2**63, count).tolist()
    means = np.empty(drawn.size)
    found = [resampled_means(g, n, s) for g, n, s in zip(groups, times, seeds, strict=True) if n]
    means[order] = np.concatenate(found)
    return np.asarray(means.reshape(drawn.shape).mean(axis=1), dtype=np.float64)


def _from_all(groups: Sequence[Sequence[float]], drawn: Any, seeds: list[list[int]]) -> Floats:
    """The same with means of every group for every place, of which those drawn are taken."""
    import numpy as np

    draws, count = drawn.shape
    means = np.zeros(draws)
    for place in range(count):  # a group drawn twice has its values drawn anew
        of_each = np.stack([resampled_means(g, draws, seeds[place][i]) for i, g in enumerate(groups)])
        means += np.take_along_axis(of_each, drawn[None, :, place], axis=0)[0] / count
    return means
