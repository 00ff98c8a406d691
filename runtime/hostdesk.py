"""Calls of tools and Python functions by programs: where they wait for the outside, beside the engine's work."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Module
from lampc.ir.prog import DefTool, Py, Tool
from lampc.runtime.hosts import HostError, resolve
from lampc.runtime.interp import HostCall, host_call
from lampc.runtime.making import SECONDS, Pace

if TYPE_CHECKING:
    from lampc.runtime.client import Client

THREADS = 64
"""Most calls that wait at a time, of all rows."""
LOOKS = 2
"""A call waits if it was found asleep so many times in a row: once, it could be for the interpreter of who looks."""


class HostDesk:
    """Makes the calls of one run. `call` is what makes one; it may raise RowFailure.

    Code that computes is called at once, as threads would gain nothing. A tool declared to block is called on a thread,
    and so is code whose first calls were seen to wait. A tool of which that is not known is tried on a thread where
    other rows are under way (`beside`): if it has not ended after a moment, in which it did not compute, the run goes
    on without it. Where a single row runs it stays on the thread of the run. The calls of a row that have effects are
    never handed in before the one ahead of them is done, so their order in a row holds on threads too.
    """

    def __init__(self, client: Client, call: HostCall = host_call) -> None:
        self.client, self.call = client, call
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._blocking: dict[str, bool] = {}
        self._pool: ThreadPoolExecutor | None = None

    def ask(
        self,
        op: Tool | Py,
        args: Sequence[Any],
        module: Module,
        base: Path,
        deliver: Callable[[Future[Any]], object],
        keep: Callable[[Any], Any],
        beside: bool = False,
    ) -> bool:
        """Start a call whose end `deliver` is told of; False if it is to be made at once, by `now`. `keep` is given
        what it returns before anything else, on its thread, and gives what is delivered."""
        name = _target(op, module)
        if name not in self._blocking:
            self._blocking[name] = self.call is host_call and _declared(name, base)
        pace = self._paces[name]
        known = self._blocking[name] or pace.waits
        if not known and not (_SEES_THREADS and isinstance(op, Tool) and pace.due and beside):
            return False
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lampc-tool")
        made = partial(self.call, op, args, module, base)
        call = partial(contextvars.copy_context().run, lambda: keep(made()))
        self.client.expect(self._pool.submit(call) if known else _tried(self._pool, call, pace), deliver)
        return True

    def now(
        self,
        op: Tool | Py,
        args: Sequence[Any],
        module: Module,
        base: Path,
        meanwhile: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> Any:
        """A call, made at once; within `meanwhile` where it may turn out to wait. Raises RowFailure."""
        pace = self._paces[_target(op, module)]
        with meanwhile() if pace.due else contextlib.nullcontext():
            return pace.timed(partial(self.call, op, args, module, base))

    def close(self) -> None:
        """Calls that have not begun are dropped; those under way are not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


_SEES_THREADS = hasattr(time, "pthread_getcpuclockid")
"""Whether a thread can be told how long another one has computed: not on every system."""


def _tried(pool: ThreadPoolExecutor, call: Callable[[], Any], pace: Pace) -> Future[Any]:
    """A call on a thread of the pool, which has ended, or waits for something else than the processor, or for a thread.

    The caller stands still for that long, so that code that computes has the interpreter to itself.
    """
    begun: list[tuple[int, int, float]] = []

    def timed() -> Any:
        begun.append((threading.get_ident(), threading.get_native_id(), time.thread_time()))
        return call()

    future = pool.submit(timed)
    last, still = 0.0, 0
    while not wait([future], SECONDS).done:
        if not begun:
            return future  # all threads are taken: nothing is learned from that
        thread, number, computed = begun[0]
        computed = time.clock_gettime(time.pthread_getcpuclockid(thread)) - computed
        still = still + 1 if computed - last < SECONDS / 2 and _sleeps(number) else 0
        if still == LOOKS:
            pace.waited()
            return future
        last = computed
    pace.computed()
    return future


def _sleeps(number: int) -> bool:
    """Whether a thread, by the system's number, would not run if it could: on a busy machine many wait for their turn.
    True where the system does not tell."""
    try:
        with open(f"/proc/self/task/{number}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "R"
    except (OSError, IndexError):
        return True


def _target(op: Tool | Py, module: Module) -> str:
    if isinstance(op, Py):
        return op.ref.target
    definition = module.lookup(op.tool.name)
    return definition.ref.target if isinstance(definition, DefTool) else ""


def _declared(target: str, base: Path) -> bool:
    """Whether the function says that it blocks."""
    try:
        return bool(getattr(resolve(target, base), "__lampc_blocking__", False))
    except HostError:
        return False  # calling it says so
