"""Histograms with fixed buckets: how long things took, at a constant cost per observation."""

from bisect import bisect_left
from dataclasses import dataclass
from math import isfinite

STEP_BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between two tokens of a request. From half a millisecond, the least a step of a tiny model takes, to
ten seconds, a request that was preempted and computed again. 1-2-5: service targets are round numbers (50 ms
between tokens, 200 ms to the first), so that the share that keeps them is exact; and a quantile read from the
buckets is off by 2.5 times at worst."""

WAIT_BOUNDS = (*STEP_BOUNDS[1:], 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
"""Seconds in the queue, to the first token, or for the whole request: from one step of a small model to a
quarter of an hour, which is what the last of some thousand requests submitted at once may wait."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram as of one moment. `counts[i]` fell in (bounds[i - 1], bounds[i]]; the last is above all bounds.

    `total` is the sum of what was observed, in the unit of the bounds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self.counts)

    def quantile(self, q: float) -> float:
        """The q-quantile, taking observations as spread evenly in their bucket; the last bound if it is above
        all, nan if there are none. Raises ValueError unless 0 <= q <= 1."""
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"q is {q}; give a number in [0, 1]")
        rank, seen = q * self.count, 0
        if not self.count:
            return float("nan")
        for i, bound in enumerate(self.bounds):
            here = self.counts[i]
            if here and seen + here >= rank:
                low = self.bounds[i - 1] if i else 0.0
                return low + (bound - low) * (rank - seen) / here
            seen += here
        return self.bounds[-1]


class Histogram:
    """Counts observations into buckets with the given upper bounds (inclusive)."""

    __slots__ = ("_bounds", "_counts", "_last", "_place", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        if list(bounds) != sorted(set(bounds)) or not bounds or not all(map(isfinite, bounds)):
            raise ValueError(f"bounds are {bounds}; give finite numbers, each larger than the one before")
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._last, self._place = 0.0, bisect_left(bounds, 0.0)  # values come in runs: all that a step ends at once

    def observe(self, value: float, count: int = 1) -> None:
        """One more, or several alike."""
        if value != self._last:
            self._last, self._place = value, bisect_left(self._bounds, value)
        self._counts[self._place] += count
        self._total += count * value

    def read(self) -> Distribution:
        """What was observed so far."""
        return Distribution(self._bounds, tuple(self._counts), self._total)
