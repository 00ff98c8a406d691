"""Vectors of texts: on threads of their own, a bounded number of requests at a time: nothing else waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lampc.runtime.serve.limits import Limits
from lampc.runtime.serve.problems import Problem, late

THREADS = 8


class Vectors:
    """`embed` makes vectors of a list of texts, one row each; it is called by several threads."""

    def __init__(self, embed: Callable[[list[str]], Any], limits: Limits) -> None:
        self.embed, self.limits = embed, limits
        self._threads = ThreadPoolExecutor(THREADS, "lampc-vectors")
        self._room = threading.Semaphore(limits.programs)

    async def of(self, texts: list[str]) -> tuple[Any, int | None]:
        """Rows, and the tokens that they took if `embed` counts them. Raises Problem, and what `embed` raises."""
        if not self._room.acquire(blocking=False):
            why = f"{self.limits.programs} requests for vectors are under way; try again in a moment"
            raise Problem(429, why, code="queue_full", headers={"retry-after": "1"})
        work = self._threads.submit(self._made, texts)
        work.add_done_callback(lambda _: self._room.release())  # not before: who gave up waiting still has a thread
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), self.limits.seconds)
        except TimeoutError:
            raise late(self.limits.seconds) from None

    def _made(self, texts: list[str]) -> tuple[Any, int | None]:
        count = getattr(self.embed, "count_tokens", None)
        return self.embed(texts), None if count is None else count(texts)

    def close(self) -> None:
        """Begin nothing more. Twice is fine."""
        self._threads.shutdown(wait=False, cancel_futures=True)
