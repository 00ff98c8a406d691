"""Copies of K/V between device and host memory that are still to be made, in the order in which they were decided.

Nothing waits for them before the next step: whoever computes it makes all of them first, in this order. A slot or a
block of host memory that is given away and used again is thereby always read before it is overwritten.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Run(NamedTuple):
    """Neighbouring slots slot .. slot + length - 1 of the device, and as many tokens from `offset` on in a block of
    host memory; `inward` if they are copied to the device."""

    inward: bool
    block: int
    offset: int
    slot: int
    length: int


RUN = len(Run._fields)


class Copies:
    """Runs that wait to be copied."""

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, inward: bool, block: int, offset: int, slots: list[int]) -> None:
        """Tokens from `offset` on in a block of host memory, one for each slot."""
        if slots == list(range(slots[0], slots[0] + len(slots))):  # nearly always
            self._runs.append(Run(inward, block, offset, slots[0], len(slots)))
            return
        start = 0
        for at in range(1, len(slots) + 1):
            if at == len(slots) or slots[at] != slots[at - 1] + 1:
                self._runs.append(Run(inward, block, offset + start, slots[start], at - start))
                start = at

    def inward(self) -> list[int]:
        """The slots of the device that are copied to."""
        return [slot for run in self._runs if run.inward for slot in range(run.slot, run.slot + run.length)]

    def drain(self) -> Iterator[list[Run]]:
        """What is to be copied, in order, as many runs at once as all go one way and write each place once.

        Each batch counts as done when the next one is asked for; one that raised, or was interrupted, comes again, and
        may be copied again.
        """
        while self._runs:
            batch = self._first()
            yield batch
            del self._runs[: len(batch)]

    def _first(self) -> list[Run]:
        inward = self._runs[0].inward
        written: set[int] = set()
        for count, run in enumerate(self._runs):
            first = run.slot if inward else (run.block << 32) + run.offset
            places = range(first, first + run.length)
            if run.inward != inward or not written.isdisjoint(places):
                return self._runs[:count]
            written.update(places)
        return self._runs[:]

    def clear(self) -> None:
        """For those who have no K/V."""
        self._runs.clear()

    def numbers(self) -> NDArray[np.int64]:
        """[n, RUN]: all of them, for the wire."""
        return np.array(self._runs, np.int64).reshape(-1, RUN)

    @classmethod
    def of(cls, numbers: NDArray[np.int64]) -> "Copies":
        """What `numbers` gave, in any shape."""
        made = cls()
        made._runs = [Run(bool(inward), *rest) for inward, *rest in numbers.reshape(-1, RUN).tolist()]
        return made
