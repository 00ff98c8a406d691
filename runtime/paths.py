"""How many tokens some paths have together, each counted once: the size of their prefix tree while they come and go."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from lampc.passes.schedule.block_tree import common_prefix

Ids = tuple[int, ...]


class Paths:
    """A path may be in it several times. In lexicographic order a path has in common with all others what it has in
    common with its neighbours, so adding and removing cost a search and two comparisons."""

    def __init__(self) -> None:
        self.tokens = 0
        self._ordered: list[Ids] = []

    def __iter__(self) -> Iterator[Ids]:
        return iter(self._ordered)

    def more(self, ids: Ids) -> int:
        """How many tokens a path would add."""
        return len(ids) - self._shared(ids, bisect_left(self._ordered, ids))

    def add(self, ids: Ids) -> None:
        """One more path."""
        self.tokens += self.more(ids)
        insort(self._ordered, ids)

    def remove(self, ids: Ids) -> None:
        """A path that was added is over."""
        at = bisect_left(self._ordered, ids)
        assert self._ordered[at : at + 1] == [ids], "a path is removed that is not there"
        del self._ordered[at]
        self.tokens -= len(ids) - self._shared(ids, at)

    def _shared(self, ids: Ids, at: int) -> int:
        """What a path has in common with the ones before and at a place in the order."""
        return max((common_prefix(ids, near) for near in self._ordered[max(at - 1, 0) : at + 1]), default=0)


__all__ = ["Paths"]
