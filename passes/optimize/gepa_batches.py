"""Minibatches of training rows that go through all rows, epoch by epoch."""

from __future__ import annotations

import random
from collections import Counter


class EpochBatches:
    """Rows shuffled anew in each epoch, filled up to whole batches with those that came up least (the last of them).

    The place in an epoch follows from the number of the iteration, as in the `gepa` package: an iteration that takes
    no batch leaves its own out, and further batches of one iteration are those after it.
    """

    def __init__(self, rows: int, size: int, rng: random.Random) -> None:
        self._rows, self._size, self._rng = rows, size, rng
        self._order: list[int] = []
        self._epoch = 0
        self._iteration, self._taken = -1, 0

    def take(self, iteration: int) -> tuple[int, ...]:
        """The next batch of this iteration (from 0 on)."""
        self._taken = self._taken + 1 if iteration == self._iteration else 0
        self._iteration = iteration
        start = iteration * self._size
        if not self._order or start // len(self._order) > self._epoch:
            self._epoch = start // len(self._order) if self._order else 0
            self._shuffle()
        at = (start + self._taken * self._size) % len(self._order)
        return tuple(self._order[at : at + self._size])

    def _shuffle(self) -> None:
        order = list(range(self._rows))
        self._rng.shuffle(order)
        used = Counter(order)
        while len(order) % self._size:
            least = min(reversed(used), key=lambda row: used[row])
            order.append(least)
            used[least] += 1
        self._order = order
