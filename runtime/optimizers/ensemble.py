"""`Ensemble`: several programs as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lampc.frontend.python.modules.ensemble import EnsembledProgram
from lampc.runtime.optimizers.base import Teleprompter


class Ensemble(Teleprompter):
    """`Ensemble(reduce_fn=lampc.majority).compile(programs)` asks all of them at once and reduces what they return.

    `size` asks so many of them a call, drawn at random, or, if `deterministic`, drawn as the inputs say. The program
    that comes out saves and loads the states of all; one whose answers are reduced and not drawn is a graph, which
    `.lampc` files hold whole.
    """

    def __init__(
        self,
        *,
        reduce_fn: Callable[[list[Any]], Any] | None = None,
        size: int | None = None,
        deterministic: bool = False,
    ) -> None:
        self.reduce_fn = reduce_fn
        self.size = size
        self.deterministic = deterministic

    def compile(self, programs: Sequence[Any]) -> EnsembledProgram:  # type: ignore[override]
        """Raises ValueError for no programs, and for a `size` beyond their number."""
        return EnsembledProgram(programs, self.reduce_fn, self.size, self.deterministic)
