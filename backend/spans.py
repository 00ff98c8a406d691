"""What a step reads: for each request some rows in a line, and the slots of everything up to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Span:
    """Rows first .. first + count - 1 of the step hold positions start .. of one request with these slots."""

    first: int
    start: int
    count: int
    slots: NDArray[np.int64]


class Spans(Sequence[Span]):
    """The spans of a step as numbers, for kernels: `table` [n, 4] int64 of first, start, count, address of slots.

    `queries` are all rows together.
    """

    def __init__(self, table: NDArray[np.int64], slots: Sequence[NDArray[np.int64]], queries: int) -> None:
        self.table = table
        self.table_at: int = table.__array_interface__["data"][0]  # the address
        self.slots = slots
        self.queries = queries

    @classmethod
    def of(cls, spans: Sequence[Span]) -> "Spans":
        """From spans one by one."""
        flat = [(s.first, s.start, s.count, s.slots.__array_interface__["data"][0]) for s in spans]
        queries = sum(span.count for span in spans)
        return cls(np.array(flat, np.int64).reshape(-1, 4), [span.slots for span in spans], queries)

    def __len__(self) -> int:
        return len(self.slots)

    def __getitem__(self, at: int) -> Span:  # type: ignore[override]  # nobody slices it
        first, start, count, _ = self.table[at].tolist()
        return Span(first, start, count, self.slots[at])
