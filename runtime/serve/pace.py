"""When the reader of a stream is woken."""

from __future__ import annotations

import asyncio


class Pace:
    """Wakes a reader at once for the first thing and for an end, else at most so many times a second.

    Each piece of a stream costs the server and the client a system call and a parse, a small model's token often less.
    Of one event loop, like all that is in it.
    """

    def __init__(self, events_per_s: float) -> None:
        self._seconds = 1 / events_per_s
        self._event = asyncio.Event()
        self._next = 0.0  # on the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    def told(self) -> None:
        """There is more to read."""
        if self._timer is not None or self._event.is_set():
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next:
            self._event.set()
        else:
            self._timer = loop.call_at(self._next, self._due)

    def ended(self) -> None:
        """Something is over."""
        self._event.set()

    async def wait(self) -> None:
        """Until there is something to read."""
        await self._event.wait()
        self._event.clear()

    def read(self) -> None:
        """It was read, and there was something for the stream in it."""
        self._next = asyncio.get_running_loop().time() + self._seconds

    def _due(self) -> None:
        self._timer = None
        self._event.set()
