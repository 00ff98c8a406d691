"""How many tokens some paths have together, each counted once: the size of their prefix tree while they come and go."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from lampc.passes.schedule.block_tree import packed, packed_prefix, unpacked

Ids = tuple[int, ...]


class Paths:
    """A path may be in it several times. In lexicographic order a path has in common with all others what it has in
    common with its neighbours, so adding and removing cost a search and two comparisons."""

    def __init__(self) -> None:
        self.tokens = 0
        self._ordered: list[bytes] = []  # packed

    def __iter__(self) -> Iterator[Ids]:
        return map(unpacked, self._ordered)

    def more(self, ids: Ids) -> int:
        """How many tokens a path would add."""
        path = packed(ids)
        return len(ids) - self._shared(path, bisect_left(self._ordered, path))

    def add(self, ids: Ids) -> None:
        """One more path."""
        path = packed(ids)
        at = bisect_left(self._ordered, path)
        self.tokens += len(ids) - self._shared(path, at)
        self._ordered.insert(at, path)

    def remove(self, ids: Ids) -> None:
        """A path that was added is over."""
        path = packed(ids)
        at = bisect_left(self._ordered, path)
        assert self._ordered[at : at + 1] == [path], "a path is removed that is not there"
        del self._ordered[at]
        self.tokens -= len(ids) - self._shared(path, at)

    def _shared(self, path: bytes, at: int) -> int:
        """What a path has in common with the ones before and at a place in the order."""
        return max((packed_prefix(path, near) for near in self._ordered[max(at - 1, 0) : at + 1]), default=0)


__all__ = ["Paths"]
