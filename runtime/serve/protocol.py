"""uvicorn's HTTP protocol, and what it lacks.

It writes the head of an answer, each part of its body and its end one by one. A write costs more than all that a server
does for a token, and wakes the client up each time; so what is written in one turn of the event loop goes out in one
system call.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MOST = 1 << 16
"""Bytes that are kept back; more than that is passed on, so that the transport can say that it is full."""
HEAD = 1 << 16
"""Bytes of a request's head that are taken: the parser itself takes any number."""


class ServedProtocol(HttpToolsProtocol):
    """The protocol on a transport that gathers. Heads have a limit, and when the client leaves all its requests are
    told, not the last alone."""

    _head = 0  # bytes since a head was whole, or a piece of a body came
    _cycles: tuple[RequestResponseCycle, ...] = ()  # that may not be answered yet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(cast(asyncio.Transport, _Gathering(transport)))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        for cycle in self._cycles:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._cycles = ()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._head += len(data)
        super().data_received(data)
        if self._head > HEAD and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.send_400_response("The head of the request is too large.")
            else:
                self.transport.close()

    def on_headers_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self._head = 0
        super().on_headers_complete()
        self._cycles = (*(c for c in self._cycles if not c.response_complete), self.cycle)

    def on_body(self, body: bytes) -> None:
        """See `httptools.HttpRequestParser`."""
        self._head = 0
        super().on_body(body)


class _Gathering:
    """A transport whose writes wait for the end of the turn."""

    __slots__ = ("_parts", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """See `asyncio.WriteTransport`."""
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > MOST:
            self._flush()

    def close(self) -> None:
        """See `asyncio.BaseTransport`: what was written is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts and not self._transport.is_closing():
            self._transport.write(b"".join(self._parts))
        self._parts.clear()
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
