"""Tools that wait in simulated time, beside an engine that runs in simulated time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from lampc.ir import Module
from lampc.ir.prog import Py, Tool
from lampc.runtime.calls import CallDesk
from lampc.runtime.client import Client
from lampc.runtime.failures import RowFailure
from lampc.runtime.hostdesk import HostDesk
from program_bench.tools import ToolDesk


class SimulatedClient(Client):
    """A client to which tools come back when the clock says so; where nothing else is under way, it moves the clock."""

    __slots__ = ("_clock", "_order", "_timers")

    def __init__(self, desk: CallDesk, clock: Any) -> None:
        super().__init__(desk)
        self._clock = clock
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, ready: Callable[[], object]) -> None:
        """Call `ready` once so many seconds have passed."""
        heapq.heappush(self._timers, (self._clock() + seconds, next(self._order), ready))

    def tick(self) -> None:
        """Call all that is due."""
        while self._timers and self._timers[0][0] <= self._clock():
            heapq.heappop(self._timers)[2]()

    def advance(self) -> None:
        """See `Client`."""
        self.tick()
        if not self.ready and self._timers and not self.desk.driven_for(self) and not self.desk.prefills:
            self._clock.now = max(self._clock(), self._timers[0][0])  # a sum could be a little less
            self.tick()
        super().advance()


class SimulatedHosts(HostDesk):
    """Calls each tool at once, and hands over what it gave once its time has passed."""

    def __init__(self, client: SimulatedClient, tools: ToolDesk) -> None:
        super().__init__(client)
        self._waiting, self._tools = client, tools

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
        """See `HostDesk`."""
        if isinstance(op, Py):
            return False
        self._tools.owed, future = 0.0, Future[Any]()
        try:
            future.set_result(keep(self.call(op, args, module, base)))
        except RowFailure as e:
            future.set_exception(e)
        done: Future[Any] = Future()
        self.client.expect(done, lambda _: deliver(future))
        self._waiting.after(self._tools.owed, lambda: done.set_result(None))
        return True
