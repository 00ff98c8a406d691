"""Calls of tools and Python functions by programs: where they wait for the outside, beside the engine's work."""

from __future__ import annotations

import contextvars
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Module
from lampc.ir.prog import DefTool, Py, Tool
from lampc.runtime.hosts import HostError, resolve
from lampc.runtime.interp import HostCall, host_call
from lampc.runtime.making import Pace

if TYPE_CHECKING:
    from lampc.runtime.client import Client

THREADS = 64
"""Most calls that wait at a time, of all rows."""


class HostDesk:
    """Makes the calls of one run. `call` is what makes one; it may raise RowFailure.

    Code that computes is called at once, as threads would gain nothing. A tool declared to block is called on a thread,
    and so is code whose first calls were seen to wait. The calls of a row that have effects are never handed in before
    the one ahead of them is done, so their order in a row holds on threads too.
    """

    def __init__(self, client: Client, call: HostCall = host_call) -> None:
        self.client, self.call = client, call
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._blocking: dict[str, bool] = {}
        self._pool: ThreadPoolExecutor | None = None

    def ask(
        self, op: Tool | Py, args: Sequence[Any], module: Module, base: Path, deliver: Callable[[Future[Any]], object]
    ) -> bool:
        """Start a call whose end `deliver` is told of; False if it is to be made at once, by `now`."""
        name = _target(op, module)
        if name not in self._blocking:
            self._blocking[name] = self.call is host_call and _declared(name, base)
        if not self._blocking[name] and not self._paces[name].waits:
            return False
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lampc-tool")
        context = contextvars.copy_context()
        self.client.expect(self._pool.submit(context.run, self.call, op, args, module, base), deliver)
        return True

    def now(self, op: Tool | Py, args: Sequence[Any], module: Module, base: Path) -> Any:
        """A call, made at once. Raises RowFailure."""
        return self._paces[_target(op, module)].timed(partial(self.call, op, args, module, base))

    def close(self) -> None:
        """Calls that have not begun are dropped; those under way are not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


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
