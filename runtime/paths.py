"""How many tokens some paths have together, each counted once: the size of their prefix tree while they come and go."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lampc.passes.schedule.block_tree import WIDTH, packed, packed_prefix

Ids = tuple[int, ...]
Path = bytes
"""Ids, packed: see `lampc.passes.schedule.block_tree.packed`."""


class Prompt(NamedTuple):
    """The ids of a prompt, and the same as a path: those who count what prompts share all look at it."""

    ids: Ids
    path: Path

    @staticmethod
    def of(ids: Ids) -> Prompt:
        return Prompt(ids, packed(ids))

    def first(self, count: int) -> Prompt:
        """Its first tokens."""
        return self if count >= len(self.ids) else Prompt(self.ids[:count], self.path[: count * WIDTH])

    def then(self, ids: Ids) -> Prompt:
        """With more behind it."""
        return Prompt(self.ids + ids, self.path + packed(ids))


NO_PROMPT = Prompt((), b"")


class Paths:
    """A path may be in it several times. In lexicographic order a path has in common with all others what it has in
    common with its neighbours, so adding and removing cost a search and two comparisons."""

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self.tokens = 0
        self._ordered: list[Path] = []
        for path in paths:
            self.add(path)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._ordered)

    def more(self, path: Path) -> int:
        """How many tokens a path would add."""
        return len(path) // WIDTH - self._shared(path, bisect_left(self._ordered, path))

    def add(self, path: Path) -> None:
        """One more path."""
        at = bisect_left(self._ordered, path)
        self.tokens += len(path) // WIDTH - self._shared(path, at)
        self._ordered.insert(at, path)

    def remove(self, path: Path) -> None:
        """A path that was added is over."""
        at = bisect_left(self._ordered, path)
        assert self._ordered[at : at + 1] == [path], "a path is removed that is not there"
        del self._ordered[at]
        self.tokens -= len(path) // WIDTH - self._shared(path, at)

    def _shared(self, path: Path, at: int) -> int:
        """What a path has in common with the ones before and at a place in the order."""
        return max([packed_prefix(path, near) for near in self._ordered[max(at - 1, 0) : at + 1]], default=0)


__all__ = ["NO_PROMPT", "Path", "Paths", "Prompt"]
