"""Searches of several threads at once as one: whoever comes first searches for all that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lampc.ir.lookup import Hit


@dataclass(slots=True, eq=False)
class _Waiting:
    query: str
    k: int
    done: threading.Event = field(default_factory=threading.Event)
    found: list[Hit] | None = None
    error: Exception | None = None


class Combiner:
    """Takes one query at a time from any thread. No time is waited: while a search is under way, others gather."""

    def __init__(self, search: Callable[[Sequence[str], int], list[list[Hit]]], most: int = 256) -> None:
        self._search, self._most = search, most
        self._queue: list[_Waiting] = []
        self._mutex, self._busy = threading.Lock(), threading.Lock()

    def search(self, query: str, k: int) -> list[Hit]:
        """Raises what the search raises."""
        mine = _Waiting(query, k)
        with self._mutex:
            self._queue.append(mine)
        while not mine.done.is_set():
            with self._busy:
                if not mine.done.is_set():
                    self._serve()
        if mine.error is not None:
            raise mine.error
        assert mine.found is not None
        return mine.found

    def _serve(self) -> None:
        """Search for those that wait first and want as many passages."""
        with self._mutex:
            k = self._queue[0].k
            batch = [w for w in self._queue if w.k == k][: self._most]
            self._queue = [w for w in self._queue if w not in batch]
        try:
            for waiting, found in zip(batch, self._search([w.query for w in batch], k), strict=True):
                waiting.found = found
        except Exception as e:
            for waiting in batch:
                waiting.error = e
        finally:
            for waiting in batch:
                waiting.done.set()
