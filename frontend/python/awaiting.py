"""Programs awaited, and coroutines called: `asyncify` and `syncify` under DSPy's names."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from lampc.frontend.python.module import Module

M = TypeVar("M", bound=Module)


def asyncify(program: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A program or function as a coroutine function.

    A module's own `acall` is used, so that what is awaited together is computed together; any other function runs in a
    thread, which sees the settings of this task.
    """
    acall = getattr(program, "acall", None)

    @functools.wraps(program, updated=())
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        if acall is not None:
            return await acall(*args, **kwargs)
        return await asyncio.to_thread(program, *args, **kwargs)

    return awaited


def syncify(program: M, in_place: bool = True) -> M:
    """A module that has only `aforward`, callable as others are; with `in_place` False, a copy of it.

    Raises TypeError if there is no `aforward`.
    """
    if not hasattr(program, "aforward"):
        raise TypeError(f"{type(program).__name__} has no aforward; only what must be awaited is to be made callable")
    made = program if in_place else program.deepcopy()

    def forward(*args: Any, **kwargs: Any) -> Any:
        return _run(lambda: made.aforward(*args, **kwargs))

    made.forward = forward  # type: ignore[method-assign]
    return made


def _run(start: Callable[[], Awaitable[Any]]) -> Any:
    """What a coroutine gives, also where an event loop is running."""

    async def whole() -> Any:
        return await start()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole())
    with ThreadPoolExecutor(1) as pool:  # a loop cannot be entered twice from one thread
        return pool.submit(copy_context().run, asyncio.run, whole()).result()
