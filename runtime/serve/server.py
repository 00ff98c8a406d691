"""Running an app: until the process is asked to end, or beside other code in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Self

import uvicorn
from uvicorn.config import LOG_LEVELS

from lampc.runtime.serve.app import App
from lampc.runtime.serve.logs import give_handlers
from lampc.runtime.serve.protocol import ServedProtocol

LAST_WORDS = 1.0
"""Seconds that clients have to read that the server ends."""
HELD_UP = 10.0
"""Seconds beyond `drain` after which the server ends, whatever holds it up."""


class ServerFailed(Exception):
    """The server could not be started; the message says why."""


class Server:
    """An app behind a socket. `port` 0 takes a free one; `url` says which.

    `run` serves until SIGTERM or SIGINT: then nothing new is taken, what is under way has the app's `drain` seconds to
    end, the rest is answered with 503, and the engine is closed. A second signal does not wait. As a context manager
    it serves from a thread, and ends so. Raises ServerFailed for an address that cannot be had, and ValueError for a
    log level that there is not.
    """

    def __init__(self, app: App, *, host: str = "127.0.0.1", port: int = 8000, log_level: str = "warning") -> None:
        self.app = app
        limits = app.service.limits
        log_level = log_level.lower()
        if log_level not in LOG_LEVELS:
            raise ValueError(f"log level {log_level!r}: there are {', '.join(LOG_LEVELS)}")
        access = log_level in ("info", "debug", "trace")
        give_handlers(access)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,  # see `logs`
            log_level=log_level,
            access_log=access,
            limit_concurrency=limits.connections,
            timeout_graceful_shutdown=math.ceil(limits.drain + HELD_UP),
            server_header=False,
            ws="none",
            http=ServedProtocol,
        )
        self._socket = _bound(host, port)
        self._server = _Uvicorn(config, app)
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Where the server is; OpenAI's clients want `/v1` after it."""
        host = self._server.config.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def run(self, ready: Callable[[], None] | None = None) -> None:
        """Serve until the process is asked to end; `ready` is called once requests are taken."""
        self._server.ready = ready
        try:
            with _signals(self._server.asked_to_end):
                self._server.run(sockets=[self._socket])
        finally:
            self.app.close()

    def stop(self) -> None:
        """End as `run` does, from another thread."""
        self.app.drain()
        self._server.should_exit = True

    def __enter__(self) -> Self:
        started = threading.Event()
        self._server.ready = started.set
        self._thread = threading.Thread(target=self._serve, args=(started,), name="lampc-serve", daemon=True)
        self._thread.start()
        started.wait(60)
        if not self._server.started:
            self.__exit__(None, None, None)
            raise ServerFailed("the server did not start; its log says why")
        return self

    def _serve(self, started: threading.Event) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            started.set()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()
        self.app.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, which tells when it takes requests, and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self.ready: Callable[[], None] | None = None
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.ready is not None and self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.drain()
        end = asyncio.get_running_loop().call_later(self._app.service.limits.drain, self._end)
        try:
            await super().shutdown(sockets)
        finally:
            end.cancel()

    def _end(self) -> None:
        """Have everybody told that the server ends, and hang up on those that do not read it."""
        self._app.end()
        asyncio.get_running_loop().call_later(LAST_WORDS, self._hang_up)

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def asked_to_end(self, number: int, frame: FrameType | None) -> None:
        """A signal came."""
        self._app.drain()
        if self.should_exit and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._end)
        self.should_exit = True


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _bound(host: str, port: int) -> socket.socket:
    """A socket at an address. Raises ServerFailed."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except (OSError, OverflowError) as e:
        made.close()
        raise ServerFailed(f"{host}:{port} cannot be listened on: {e}; give another --host or --port") from e
    return made
