"""A model that is a coroutine function of a user's: `aforward`. Its calls are under way together, each in the event
loop of who awaits it, so that clients which belong to that loop work; calls of plain code are in the model's own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from lampc.ir.errors import LMTransportError
from lampc.runtime.making import inside
from lampc.runtime.models import Answer, ModelCall, failed
from lampc.runtime.providers.looping import LoopThread
from lampc.runtime.remote import message
from lampc.runtime.replaced import drawing

if TYPE_CHECKING:
    from lampc.backend import PrefixRef
    from lampc.ir import Target


class AwaitedModel:
    """`aforward` is awaited with the arguments that `arguments` makes of a call, and `read` gives its answers."""

    mode = "remote"
    pushes = True

    def __init__(
        self,
        aforward: Callable[..., Any],
        target: Target,
        arguments: Callable[[ModelCall, int, Any], dict[str, Any]],
        read: Callable[[Any, Any], list[Answer]],
    ) -> None:
        self._aforward, self.target, self._arguments, self._read = aforward, target, arguments, read
        self.on_answer: Callable[[Any, ModelCall, Answer], None] = lambda model, call, answer: None
        self._loop: LoopThread | None = None
        self._mutex = threading.Lock()
        self._pending: set[Future[None]] = set()

    def submit(self, calls: Sequence[ModelCall]) -> None:
        groups: list[list[ModelCall]] = []
        for call in calls:
            if groups and call.awaiter is groups[-1][0].awaiter and call.is_draw_of(groups[-1][0]):
                groups[-1].append(call)
            else:
                groups.append([call])
        for group in groups:
            self._start(group)

    def _start(self, calls: list[ModelCall]) -> None:
        awaiter, work = calls[0].awaiter, self._answer(calls)
        if awaiter is not None and awaiter.there:
            future = awaiter.start(work)
        else:
            with self._mutex:
                if self._loop is None:
                    self._loop = LoopThread(self, "lampc-model")
            future = self._loop.run(work)
        if future is None:
            self._deliver(calls, [failed(LMTransportError("the model is closed"))] * len(calls))
            return
        with self._mutex:
            self._pending.add(future)
        future.add_done_callback(self._ended)

    def _ended(self, future: Future[None]) -> None:
        with self._mutex:
            self._pending.discard(future)

    async def _answer(self, calls: list[ModelCall]) -> None:
        first = calls[0]
        messages = [message(*turn) for turn in first.messages]
        drawing.set(first.draw)
        inside.set(True)
        try:
            given = await self._aforward(**self._arguments(first, len(calls), messages))
            found = self._read(given, messages)[: len(calls)]
        except asyncio.CancelledError:
            gone = LMTransportError("the event loop that the call was awaited in has ended")
            self._deliver(calls, [failed(gone)] * len(calls))
            raise
        except Exception as e:
            found = [failed(e)] * len(calls)
        self._deliver(calls, found)
        if len(found) < len(calls):
            await self._answer(calls[len(found) :])

    def _deliver(self, calls: Sequence[ModelCall], answers: Sequence[Answer]) -> None:
        for call, answer in zip(calls, answers, strict=False):
            self.on_answer(self, call, answer)

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        return []

    def retain(self, ids: tuple[int, ...]) -> None:
        return None

    def release(self, ref: PrefixRef) -> None:
        return None

    def abort(self) -> None:
        with self._mutex:
            pending, self._pending = self._pending, set()
        for future in pending:
            future.cancel()

    def close(self) -> None:
        self.abort()
        if self._loop is not None:
            self._loop.close()
