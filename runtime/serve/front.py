"""What stands before every answer: who may ask, how large a body may be, what is counted, and the end of work that
nobody waits for any more."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import time
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lampc.runtime.serve.problems import Problem, late, problem_of, shutting_down
from lampc.runtime.serve.service import Service
from lampc.runtime.serve.sse import EventStream, cut_short

logger = logging.getLogger(__name__)
OPEN_PATHS = ("/health",)
"""What is answered without a key."""
LOCAL = ("localhost", "127.0.0.1", "[::1]", "")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What is counted by its name."""
BODY_SECONDS = 60.0
BODIES = 64
"""How many bodies of the largest size are held at a time."""
GRACE = 15.0
"""Seconds beyond its time that an answer may take to be read."""


class Traffic:
    """What the server counts of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("method", "path", "status")
        self.requests = Counter("lampc_http_requests", "HTTP requests answered.", labels, registry=registry)
        self.seconds = Histogram(
            "lampc_http_request_seconds", "Arrival to the last byte of the answer.", ("path",), registry=registry
        )
        self.under_way = Gauge("lampc_http_requests_under_way", "HTTP requests being answered.", registry=registry)
        self.gone = Counter(
            "lampc_http_clients_gone", "Requests whose client left before the answer was whole.", registry=registry
        )
        self._answered: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}  # to find them takes long

    def answered(self, method: str, path: str, status: str, seconds: float) -> None:
        """One more, with its labels: there are not many."""
        found = self._answered.get((method, path, status))
        if found is None:
            found = self.requests.labels(method, path, status), self.seconds.labels(path)
            self._answered[method, path, status] = found
        found[0].inc()
        found[1].observe(seconds)


class Front:
    """An ASGI app around another. `keys`: who has one of them may ask; anybody, if there are none. Without keys and
    if `local`, requests must name this machine as their host: pages of other sites, which a browser here may show, are
    then not answered. Raises ValueError for a key that no header can hold."""

    def __init__(
        self, app: ASGIApp, service: Service, traffic: Traffic, keys: Iterable[str] = (), local: bool = True
    ) -> None:
        self.app, self.service, self.traffic = app, service, traffic
        self._keys = [hashlib.sha256(sent).digest() for key in keys for sent in _sent_as(key)]
        self._held = 0  # bytes of bodies
        self._local = local and not self._keys
        self._running: set[asyncio.Task[Any]] = set()
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        sent = _Sent(send)
        self.traffic.under_way.inc()
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._answer(scope, receive, sent)
        except asyncio.CancelledError:
            if not self._ended:
                raise
            with contextlib.suppress(asyncio.CancelledError):
                await sent.cut_short(shutting_down(), scope, receive)
        finally:
            self._running.discard(task)
            path, method = _path(scope), scope["method"] if scope["method"] in METHODS else "other"
            self.traffic.under_way.dec()
            self.traffic.answered(method, path, str(sent.status or 499), time.perf_counter() - begun)

    def end(self) -> None:
        """Wait for no answer any more: whoever waits for one is told that the server ends. In the event loop; what
        comes later is refused because the server drains."""
        if not self._ended:
            self._ended = True
            for task in self._running:
                task.cancel()

    async def _answer(self, scope: Scope, receive: Receive, send: _Sent) -> None:
        parts: list[bytes] = []
        try:
            self._check(scope)
            await self._read(scope, receive, parts)
        except Problem as e:
            await respond(e, scope, receive, send)
            return
        except _Gone:
            self.traffic.gone.inc()
            return
        finally:
            self._held -= sum(map(len, parts))
        body = b"".join(parts)
        self._held += len(body)
        try:
            await self._watched(scope, receive, send, body)
        finally:
            self._held -= len(body)

    async def _watched(self, scope: Scope, receive: Receive, send: _Sent, body: bytes) -> None:
        """Answer for as long as somebody is there to hear it."""
        work = asyncio.create_task(self._work(scope, body, send))
        gone = asyncio.create_task(_gone(receive))
        limit = self.service.limits.seconds + GRACE
        try:
            await asyncio.wait({work, gone}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                return
            self.traffic.gone.inc()
        finally:
            for task in (work, gone):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _work(self, scope: Scope, body: bytes, send: _Sent) -> None:
        """The answer; errors become answers as long as none was begun."""
        given = [{"type": "http.request", "body": body, "more_body": False}]
        never = asyncio.Event()

        async def replay() -> Message:
            if given:
                return given.pop()
            await never.wait()  # whether the client is there is watched elsewhere
            raise AssertionError

        try:
            await self.app(scope, replay, send)
        except HTTPException as e:
            why = f"{scope['method']} {scope['path']}: {e.detail}"
            await respond(Problem(e.status_code, why, headers=e.headers), scope, replay, send)
        except Exception as e:
            if send.status:
                raise
            await respond(self._problem(e), scope, replay, send)

    def _problem(self, error: Exception) -> Problem:
        """What to say of an error. A name for it in `_work` would make a circle, through its traceback."""
        try:
            return late(self.service.limits.seconds) if isinstance(error, TimeoutError) else problem_of(error)
        except Exception:
            logger.exception("a request failed")
            return Problem(500, "the server failed at this request; its log says more", code="internal_error")

    def _check(self, scope: Scope) -> None:
        """Raises Problem for who may not ask."""
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        host = headers.get("host", "").rpartition(":")[0] if _port(headers.get("host", "")) else headers.get("host", "")
        if self._local and host.lower() not in LOCAL:
            why = f"this server answers requests to this machine alone, not to {host!r}; start it with a key"
            raise Problem(403, why, code="foreign_host")
        if self._keys and scope["path"] not in OPEN_PATHS:
            scheme, _, key = headers.get("authorization", "").partition(" ")
            sent = key.strip(" \t") if scheme.lower() == "bearer" else headers.get("x-api-key", "")
            told = hashlib.sha256(sent.encode("latin-1")).digest()
            if not sum(hmac.compare_digest(told, k) for k in self._keys):  # all are compared: no time tells which
                why = "a key is wanted: send the header `Authorization: Bearer KEY`"
                raise Problem(401, why, code="invalid_api_key", headers={"www-authenticate": "Bearer"})

    async def _read(self, scope: Scope, receive: Receive, parts: list[bytes]) -> None:
        """Read the whole body. Raises Problem for one that is too large or too slow, and where too much is held."""
        limit = self.service.limits.body
        large = Problem(413, f"the body has more than {limit} bytes, as many as are taken", code="body_too_large")
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if told.isdigit() and int(told) > limit:
            raise large
        size, more = 0, True
        try:
            async with asyncio.timeout(min(BODY_SECONDS, self.service.limits.seconds)):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    self._held += len(parts[-1])
                    if size > limit:
                        raise large
                    if self._held > BODIES * limit:
                        raise Problem(503, "too many large requests at a time", headers={"retry-after": "1"})
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Problem(408, "the body did not arrive in time", code="slow_body") from None


class _Gone(Exception):
    """The client left before its request was whole."""


class _Sent:
    """Sends, and keeps the status, and what is still to come."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self._events = self._whole = False

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            kind = dict(message["headers"]).get(b"content-type", b"")
            self._events = kind.startswith(EventStream.media_type.encode())
        else:
            self._whole = not message.get("more_body", False)

    async def cut_short(self, problem: Problem, scope: Scope, receive: Receive) -> None:
        """Answer with a problem, or end a stream of events with it."""
        if not self.status:
            await respond(problem, scope, receive, self)
        elif self._events and not self._whole:
            await cut_short(problem, self)


async def respond(problem: Problem, scope: Scope, receive: Receive, send: Any) -> None:
    """Answer with a problem."""
    await JSONResponse(problem.body(), problem.status, problem.headers)(scope, receive, send)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _path(scope: Scope) -> str:
    """The path as the routes have it: there are not many of these, whatever is asked for."""
    if "endpoint" not in scope:
        return "other"
    path: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        path = path.removesuffix(str(value)) + "{" + name + "}"
    return path


def _port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit()


def _sent_as(key: str) -> set[bytes]:
    """The bytes that clients send for a key: what is not ASCII some write as UTF-8, others as Latin-1. A key of the
    environment may be bytes that are neither."""
    if not key.strip() or key != key.strip() or any(ord(c) < 32 or c == "\x7f" for c in key):
        why = "give one that is not empty, has no spaces around it and no control characters"
        raise ValueError(f"the key {key!r} cannot stand in a header; {why}")
    try:
        found = {key.encode("utf-8", "surrogateescape")}
    except UnicodeEncodeError:
        raise ValueError(f"the key {key!r} holds half of a character; give it whole") from None
    with contextlib.suppress(UnicodeEncodeError):
        found.add(key.encode("latin-1"))
    return found
