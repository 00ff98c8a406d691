"""A run that another thread may call off, and listen to: its calls of models end, and its next one raises.

control = RunControl(on_text=...)
with control.running():
    session.run(...)          # control.cancel(), from anywhere, ends it
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lampc.ir.errors import LMTransportError

if TYPE_CHECKING:
    from lampc.runtime.client import Client


class CalledOff(LMTransportError):
    """The run was called off while it waited for a model, or before it asked one."""


class RunControl:
    """See the module's text. `on_text(predictor, call, text)` is given pieces of answers while they are written, in
    whatever thread has them; `call` numbers the calls of a run."""

    def __init__(self, on_text: Callable[[str, int, str], None] | None = None) -> None:
        self.on_text = on_text
        self.cancelled = False
        self._clients: set[Client] = set()
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """What this thread runs inside of the block belongs to the run."""
        token = _control.set(self)
        try:
            yield
        finally:
            _control.reset(token)

    def join(self, client: Client) -> None:
        """For clients: one more of the run. Raises CalledOff."""
        with self._mutex:
            self.check()
            self._clients.add(client)

    def leave(self, client: Client) -> None:
        """For clients: it has nothing more to ask."""
        with self._mutex:
            self._clients.discard(client)

    def check(self) -> None:
        """Raises CalledOff if the run was called off."""
        if self.cancelled:
            raise CalledOff("the run was called off")

    def cancel(self) -> None:
        """End the run's calls, and have whoever waits for them hear of it. From any thread; twice is fine."""
        with self._mutex:
            self.cancelled = True
            clients = list(self._clients)
        for client in clients:
            client.call_off()


_control: contextvars.ContextVar[RunControl | None] = contextvars.ContextVar("lampc_run", default=None)


def control() -> RunControl | None:
    """Of the run that this code belongs to."""
    return _control.get()


_guard: contextvars.ContextVar[Callable[[], None] | None] = contextvars.ContextVar("lampc_guard", default=None)


@contextlib.contextmanager
def guarded(guard: Callable[[], None] | None) -> Iterator[None]:
    """Clients that are made inside of the block ask `guard`, which may raise, whenever they make or await a call."""
    token = _guard.set(guard)
    try:
        yield
    finally:
        _guard.reset(token)


def guard() -> Callable[[], None] | None:
    """Of the block that this code is in."""
    return _guard.get()
