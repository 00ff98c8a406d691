"""The order in which cached tokens go when room is needed.

Belady's choice as far as it is known: who leaves a path may say when it is needed next (`next_use`, smaller is
sooner). Ends of paths of which it is said that nobody will need them go first; then those of which nobody said
anything, the least recently used of them before the others; then the one that is needed last (Belady, "A study
of replacement algorithms for a virtual-storage computer", 1966).

A heap with lazy updates: using a node only ever moves it back in the order, so its entry is put right when it
comes up. Finding the next end costs O(log n), however large the tree is.
"""

import math
import sys
from collections.abc import Sized
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar

UNKNOWN = sys.float_info.max
"""`next_use` of tokens of which nobody has said when they are needed again."""

NEVER = math.inf
"""`next_use` of tokens that are not expected to be needed again."""


class End(Protocol):
    """What eviction looks at: a node of the prefix tree, or a piece in host memory.

    Tokens after the first `needed` of `ids` may go if there are no `children`; `used` grows with each use.
    """

    next_use: float
    used: int
    entry: tuple[float, int] | None  # where it is in the order, if it is there

    @property
    def children(self) -> Sized: ...

    @property
    def ids(self) -> Sized: ...

    @property
    def needed(self) -> int: ...


E = TypeVar("E", bound=End)


class Ends(Generic[E]):
    """Nodes from whose ends tokens could be taken, or could when they were offered."""

    def __init__(self) -> None:
        self.examined = 0  # entries looked at so far: what all evictions together have cost
        self._heap: list[tuple[tuple[float, int], int, E]] = []
        self._ties = count()
        self._stale = 0

    def __contains__(self, node: E) -> bool:
        return node.entry is not None and any(e[2] is node and e[0] == node.entry for e in self._heap)

    def __len__(self) -> int:
        return len(self._heap)

    def offer(self, node: E) -> None:
        """Adds a node, or puts it where it belongs now."""
        key = (-node.next_use, node.used)
        if node.entry is None or key < node.entry:
            self.forget(node)
            node.entry = key
            heappush(self._heap, (key, next(self._ties), node))

    def forget(self, node: E) -> None:
        """Takes a node out: it is gone."""
        if node.entry is None:
            return
        node.entry = None
        self._stale += 1
        if self._stale > len(self._heap) // 2 + 64:
            self._heap = [e for e in self._heap if e[0] == e[2].entry]
            heapify(self._heap)
            self._stale = 0

    def pop(self) -> E | None:
        """The node whose end is missed last, which is then no longer here; None if there is none."""
        while self._heap:
            key, _, node = heappop(self._heap)
            self.examined += 1
            if key != node.entry:  # it has a newer entry
                self._stale -= 1
                continue
            node.entry = None
            if node.children or node.needed >= len(node.ids):
                continue  # it is offered again when it is let go
            if (-node.next_use, node.used) > key:  # used since
                self.offer(node)
                continue
            return node
        return None
