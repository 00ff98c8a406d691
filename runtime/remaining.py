"""How much time is left of an optimisation: what the optimizer still demands, at the pace so far."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lampc.passes.optimize import Demand, OptimizeError

if TYPE_CHECKING:
    from lampc.passes.optimize.compose import Composed


class Remaining:
    """Told by `look` what is demanded before each batch, it says during the batch how long all of it will take."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._ahead: Demand | None = None
        self._known = -1

    def look(self, optimizer: Composed) -> None:
        """A batch begins. Nothing is known where a step that is to come cannot say what it will ask for."""
        self._known = -1
        try:
            self._ahead = optimizer.demand()
        except OptimizeError:
            self._ahead = None

    def seconds(self, done: int, fresh: int) -> list[float] | None:
        """At least and at most, now that `done` cells of the batch are finished, those of earlier batches among them,
        and `fresh` were run by this process in all; None if unknown. Cells that are known already count as well, so
        less time may be needed."""
        if self._known < 0:
            self._known = done - 1
        if self._ahead is None or not fresh:
            return None
        pace = (time.monotonic() - self._started) / fresh
        return [round(pace * max(0, n - done + self._known), 1) for n in (self._ahead.least, self._ahead.most)]


__all__ = ["Remaining"]
