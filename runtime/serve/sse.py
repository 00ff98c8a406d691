"""Server-sent events: a stream of JSON values, ended by `[DONE]`."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lampc.runtime.serve.problems import Problem, problem_of

logger = logging.getLogger(__name__)
_written = json.JSONEncoder(separators=(",", ":")).encode
_text = json.JSONEncoder().encode
_END = {"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False}
_MARK = "\ufdd0"  # no character, so that no event has it


class EventStream(Response):
    """An answer whose body is made as it is sent, of events: JSON values, or what a `Pattern` made.

    An error after its beginning is an event, `{"error": ...}`.

    `begun` waits for the first event, so that what fails before it has a status of its own. `close` is called in the
    end, whatever happened: sent whole, failed, or nobody is there any more.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[Any], close: Callable[[], None]) -> None:
        super().__init__(headers={"cache-control": "no-cache"})
        del self.headers["content-length"]
        self._events, self._close = events, close
        self._first: list[Any] = []

    @classmethod
    async def begun(cls, events: AsyncIterator[Any], close: Callable[[], None]) -> EventStream:
        """The answer, once there is something to send. Raises what `events` raises before that."""
        try:
            made = cls(events, close)
            made._first = [await anext(events)]
        except BaseException:
            close()
            raise
        return made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                for event in self._first:
                    await send(_chunk(event))
                async for event in self._events:
                    await send(_chunk(event))
            except Exception as e:
                await send(_chunk(_told(e).body()))
            await send(_END)
        finally:
            self._close()


class Pattern:
    """Events that differ in one text alone, which most of a stream's do: what is around it is written once.

    `event` makes one of a text; `pattern(text)` is what is sent of `event(text)`.
    """

    def __init__(self, event: Callable[[str], Any]) -> None:
        self._before, self._after = f"data: {_written(event(_MARK))}\n\n".split(_text(_MARK))

    def __call__(self, text: str) -> bytes:
        return f"{self._before}{_text(text)}{self._after}".encode()


async def cut_short(problem: Problem, send: Send) -> None:
    """End a stream that is under way with an error."""
    await send(_chunk(problem.body()))
    await send(_END)


def _chunk(event: Any) -> dict[str, Any]:
    data = event if isinstance(event, bytes) else f"data: {_written(event)}\n\n".encode()
    return {"type": "http.response.body", "body": data, "more_body": True}


def _told(error: Exception) -> Problem:
    try:
        return problem_of(error)
    except Exception:
        logger.exception("an answer failed while it was sent")
        return Problem(500, "the server failed at this answer; its log says more", code="internal_error")
