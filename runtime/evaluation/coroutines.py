"""Coroutines of metrics, run from code that is not one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from contextvars import copy_context
from typing import Any

LIVE = 64
"""Most coroutines under way at a time."""


def run_together(coroutines: Sequence[Coroutine[Any, Any, Any]], live: int = LIVE) -> list[Any]:
    """Run all, at most `live` at a time; for each its value, or the exception that ended it.

    They run in a loop of their own: on this thread, or on another one if this thread has a running loop already.
    """

    async def one(gate: asyncio.Semaphore, coroutine: Coroutine[Any, Any, Any]) -> Any:
        async with gate:
            try:
                return await coroutine
            except Exception as e:
                return e

    async def every() -> list[Any]:
        gate = asyncio.Semaphore(live)
        return await asyncio.gather(*(one(gate, c) for c in coroutines))

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(every())
    found: list[Any] = []
    context = copy_context()
    thread = threading.Thread(target=lambda: found.append(context.run(asyncio.run, every())), name="lampc-metrics")
    thread.start()
    thread.join()
    return list(found[0])
