"""Grammars of requests that could hold the engine for long, tried by another process before it sees them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from lampc.backend.grammar.compiled import read_elsewhere
from lampc.backend.grammar.trial import may_take_long
from lampc.runtime.serve.problems import Problem

KEPT = 256
MOST_WAITING = 8


class Trials:
    """One at a time. What was read in time is not tried again while it is among the last so many."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._good: OrderedDict[str, None] = OrderedDict()
        self._waiting = 0

    async def check(self, grammar: str) -> None:
        """Raises BadGrammar for one that takes too long to read, or is none, and Problem if too many wait for this."""
        if not may_take_long(grammar) or self._known(grammar):
            return
        if self._waiting >= MOST_WAITING:
            why = f"{self._waiting} grammars that may take long to read wait for that; try again in a moment"
            raise Problem(429, why, code="queue_full", headers={"retry-after": "2"})
        self._waiting += 1
        try:
            async with self._turn:
                if not self._known(grammar):
                    await asyncio.to_thread(read_elsewhere, grammar)
                    self._good[grammar] = None
        finally:
            self._waiting -= 1
        while len(self._good) > KEPT:
            self._good.popitem(last=False)

    def _known(self, grammar: str) -> bool:
        if grammar in self._good:
            self._good.move_to_end(grammar)
        return grammar in self._good
