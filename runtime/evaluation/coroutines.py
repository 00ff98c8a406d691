"""Coroutines of metrics, run from code that is not one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import ContextVar, copy_context
from inspect import iscoroutine
from typing import Any


class Aside(BaseException):
    """Raised where a metric gives a coroutine whose value is wanted later; no Exception, as nobody is to catch it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine


_NOTHING = object()
_collecting: ContextVar[bool] = ContextVar("lampc_collecting", default=False)
_known: ContextVar[Any] = ContextVar("lampc_known", default=_NOTHING)


@contextlib.contextmanager
def collecting() -> Iterator[None]:
    """Inside, `value_of` raises Aside where it would wait."""
    token = _collecting.set(True)
    try:
        yield
    finally:
        _collecting.reset(token)


@contextlib.contextmanager
def known(value: Any) -> Iterator[None]:
    """Inside, `value` (or the exception that it is) is what the next metric gives."""
    token = _known.set(value)
    try:
        yield
    finally:
        _known.reset(token)


def value_of(ask: Callable[[], Any]) -> Any:
    """What a metric gives; a coroutine is run to its end, set aside where that is wanted, or was run before."""
    value = _known.get()
    if value is _NOTHING:
        value = ask()
        if not iscoroutine(value):
            return value
        if _collecting.get():
            raise Aside(value)
        (value,) = run_together([value])
    if isinstance(value, Exception):
        raise value
    return value


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
