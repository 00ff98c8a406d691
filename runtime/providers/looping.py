"""An event loop on a thread of its own, which ends with its owner."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """`run` starts coroutines from any thread. `ends` are awaited when the loop stops, after all tasks ended.

    Closed by `close`, or when `owner` is no longer used.
    """

    def __init__(self, owner: object, name: str) -> None:
        self.loop = _nowhere(asyncio.new_event_loop)
        self.ends: list[Callable[[], Awaitable[None]]] = []
        thread = threading.Thread(target=_serve, args=(self.loop, self.ends), name=name, daemon=True)
        _nowhere(thread.start)
        self._finish = weakref.finalize(owner, _stop, self.loop, thread)

    @property
    def alive(self) -> bool:
        return self._finish.alive

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T] | None:
        """None if the loop is closed; the work is closed too."""
        if self.alive:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                return _nowhere(asyncio.run_coroutine_threadsafe, work, self.loop)
        work.close()
        return None

    def call(self, function: Callable[..., Any], *args: Any) -> bool:
        """Call a function in the loop; False if it is closed."""
        try:
            _nowhere(self.loop.call_soon_threadsafe, function, *args)
        except RuntimeError:
            return False
        return True

    def close(self) -> None:
        self._finish()


def _nowhere(function: Callable[..., T], *args: Any) -> T:
    """Calls a function outside of the caller's context: a loop would keep all that stands in it, its owner too."""
    return contextvars.Context().run(function, *args)


def _serve(loop: asyncio.AbstractEventLoop, ends: list[Callable[[], Awaitable[None]]]) -> None:
    """The life of the thread: until the loop is stopped, and what then remains to be ended."""

    async def finish() -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            await end()
        await asyncio.sleep(0)

    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(finish())
    loop.run_until_complete(loop.shutdown_asyncgens())  # of answers that were not read to their end
    loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    with contextlib.suppress(RuntimeError):  # closed already
        loop.call_soon_threadsafe(loop.stop)
    if threading.current_thread() is not thread:
        thread.join(10.0)
