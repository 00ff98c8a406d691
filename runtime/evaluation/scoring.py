"""Metrics over the rows of one evaluation, each the way that wastes least.

A metric that only computes is called as its row ends. One that asks a model (a judge) is set aside at its first call,
and all such rows are scored together, their calls fused. Coroutines run together in one loop. One that waits for
the outside is spread over threads.
"""

from __future__ import annotations

import contextvars
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from inspect import iscoroutine
from math import isfinite
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Example, Prediction
from lampc.frontend.python.module import Module
from lampc.runtime.eager import EagerRun, SessionCompleter
from lampc.runtime.evaluation.coroutines import run_together
from lampc.runtime.evaluation.watch import AsksModel, watched
from lampc.runtime.places import user_line
from lampc.runtime.types import Cell, Outcome, Row, RowError, Usage

if TYPE_CHECKING:
    from lampc.runtime.session import Session

WAITING_SECONDS = 0.01
WAITING_CALLS = 3
"""A metric waits for the outside if that many calls in a row take so long, most of it without computing."""


@dataclass(slots=True)
class Scored:
    """One row: the metric's value as it gave it, its number, or why there is none.

    `prediction` is what the program returned: a `Prediction`, unless it runs as plain Python and returns another value.
    """

    row: Row
    example: Example
    prediction: Any
    value: Any
    score: float
    error: RowError | None = None


class Scoring:
    """Takes rows as they end, in any order; `finish` scores those set aside. `heard` is told of each scored row."""

    def __init__(
        self,
        score: Callable[[Row, Example, Any], Any],
        metric: Any,
        name: str,
        session: Session,
        *,
        threads: int = 8,
        failure_score: float = 0.0,
        tracebacks: bool = False,
        heard: Callable[[Scored], None] = lambda _: None,
    ) -> None:
        self._score, self.name, self.session = score, name, session
        self.threads, self.failure_score, self.tracebacks, self.heard = threads, failure_score, tracebacks, heard
        self.usage = Usage()
        self._asks = isinstance(metric, Module)
        self._aside: list[Scored] = []
        self._coroutines: list[tuple[Scored, Any]] = []
        self._waited = 0
        self._pool: ThreadPoolExecutor | None = None
        self._futures: list[tuple[Scored, Future[Any]]] = []

    def take(self, outcome: Outcome, example: Example, prediction: Any) -> Scored:
        """The row's place in the result; its score may come later."""
        made = Scored(outcome.cell.row, example, prediction, self.failure_score, self.failure_score)
        if outcome.error is not None or outcome.value is None:
            made.error = outcome.error or RowError("no value", row=outcome.cell.row.id)
            self.heard(made)
        elif self._asks:
            self._aside.append(made)
        elif self._pool is not None:
            context = contextvars.copy_context()
            self._futures.append((made, self._pool.submit(context.run, self._watched, made)))
        else:
            wall, computing = time.perf_counter(), time.thread_time()
            self._settle(made, lambda: self._watched(made))
            wall, computing = time.perf_counter() - wall, time.thread_time() - computing
            self._waited = self._waited + 1 if wall > WAITING_SECONDS and computing < wall / 2 else 0
            if self._waited >= WAITING_CALLS and self.threads > 1:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="lampc-metric")
        return made

    def finish(self) -> None:
        """Score what was set aside."""
        try:
            for made, future in self._futures:
                self._settle(made, future.result)
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
        self._ask_together()
        values = run_together([c for _, c in self._coroutines]) if self._coroutines else []
        for (made, _), value in zip(self._coroutines, values, strict=True):
            self._settle(made, lambda value=value: _raised(value))  # type: ignore[misc]

    def _watched(self, made: Scored) -> Any:
        with watched():
            return self._score(made.row, made.example, made.prediction)

    def _settle(self, made: Scored, value: Callable[[], Any]) -> None:
        """Take a metric's value, whatever it is."""
        try:
            found = value()
            if iscoroutine(found):
                self._coroutines.append((made, found))
                return
            made.score, made.value = number(found), found
        except AsksModel:
            self._aside.append(made)
            self._asks = True
            return
        except Exception as e:
            made.error = self._failure(made.row, e)
        self.heard(made)

    def _ask_together(self) -> None:
        """Metrics that ask models, as the rows of one eager run."""
        if not self._aside:
            return
        values: dict[str, Any] = {}
        waiting = {made.row.id: made for made in self._aside}

        def entry(row: str) -> dict[str, Any]:
            made = waiting[row]
            try:
                values[row] = self._score(made.row, made.example, made.prediction)
            except Exception as e:
                values[row] = e
            return {}

        def done(_: int, outcome: Outcome) -> None:
            self.usage += outcome.usage
            row = outcome.cell.row.id
            self._settle(waiting[row], lambda: _raised(values[row]))

        run = EagerRun(entry, SessionCompleter(self.session), seed=self.session.seed, identity=f"metric {self.name}")
        with self.session.lock:
            run.run([Cell(Row(row, {"row": row})) for row in waiting], done)

    def _failure(self, row: Row, error: Exception) -> RowError:
        message = f"metric `{self.name}` failed on row {row.id}: {type(error).__name__}: {error}"
        if self.tracebacks:
            message += "\n" + "".join(traceback.format_exception(error)).rstrip()
        return RowError(message, user_line(traceback.extract_tb(error.__traceback__)), row.id, "metric")


def number(value: Any) -> float:
    """The number that a metric's value stands for: itself, true as 1, or its `score`.

    Raises ValueError for anything else, and for numbers that are not finite.
    """
    if isinstance(value, dict) and "score" in value:
        value = value["score"]
    elif not isinstance(value, Prediction) and hasattr(value, "score"):
        value = value.score
    if not isinstance(value, str) and hasattr(value, "__float__") and isfinite(made := float(value)):
        return made
    raise ValueError(f"a metric gives a finite number, true or false, or a prediction with a `score`, not {value!r}")


def _raised(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value
