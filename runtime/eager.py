"""Fused eager mode: many rows of a program that could not be traced, as plain Python, their calls in batches.

Each row is a strand (`lampc.runtime.strands`). A call of a predictor suspends its row; when every live row waits,
their calls go out together. Code of the rows never runs in parallel, so a program needs no locks; tools that are
declared as blocking run on threads meanwhile. What tools returned is journaled: a resumed run does not call them again.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.tracing import outputs
from lampc.ir.adapters import ParseFailure
from lampc.ir.errors import LMError
from lampc.ir.settings import settings
from lampc.ir.types import ANY
from lampc.ir.unit import Unit
from lampc.runtime.eager_calls import Completer, EagerAnswer, EagerCall
from lampc.runtime.failures import RowFailure, result_as_declared, unfit_result, unwritable_output
from lampc.runtime.hosts import described, plain
from lampc.runtime.places import of_the_user, user_line
from lampc.runtime.retrieval.protocol import RetrieverError
from lampc.runtime.rounds import read_calls
from lampc.runtime.strands import Book, Strand, Weaver
from lampc.runtime.tool_journal import journal_of
from lampc.runtime.types import Cell, Outcome, Returned, RowError

if TYPE_CHECKING:
    from lampc.ir.lookup import Hit, Lookup
    from lampc.runtime.session import Session
    from lampc.runtime.store import Store

LIVE = 64
"""Most rows that are under way at a time."""


class SessionCompleter:
    """Answers from a session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lm = settings.get("lm")

    def complete(self, calls: Sequence[EagerCall]) -> list[EagerAnswer]:
        with self.session.desk.hearing({c.draw: c.on_text for c in calls if c.on_text is not None}):
            wanted = [(c.bound, c.inputs, c.sampling, c.draw) for c in calls]
            found = read_calls(self.session, wanted, [c.messages for c in calls], [c.awaiter for c in calls])
        return [EagerAnswer(r.outputs, r.text, r.error, r.usage) for r in found]

    def lookup(self, asks: Sequence[Lookup]) -> list[list[Hit] | Exception]:
        return self.session.retrieval.answer(asks)


def run_eager(
    session: Session, unit: Unit, cells: Sequence[Cell], on_done: Callable[[int, Outcome], None] | None = None
) -> list[Outcome]:
    """Run all cells of a dynamic unit in a session; outcomes in the order of the cells."""
    if unit.host_entry is None:
        raise ValueError(f"`{unit.entry}` has no function to run: it was not made by the Python frontend")
    run = EagerRun(
        unit.host_entry,
        SessionCompleter(session),
        session.store,
        seed=session.seed,
        identity=unit.entry,
        unkept=session.unkept_tools,
    )
    return run.run(cells, on_done)


class EagerRun:
    """One table of cells of one program. `identity` keeps journaled tool results of programs apart."""

    def __init__(
        self,
        entry: Callable[..., dict[str, Any]],
        completer: Completer,
        store: Store | None = None,
        *,
        seed: int = 0,
        identity: str = "",
        live: int = LIVE,
        unkept: set[str] | None = None,
    ) -> None:
        self.entry, self.completer, self.store = entry, completer, store
        self.seed, self.identity, self.live = seed, identity, live
        self.unkept = unkept if unkept is not None else set()

    def run(self, cells: Sequence[Cell], on_done: Callable[[int, Outcome], None] | None = None) -> list[Outcome]:
        """Outcomes in the order of the cells. What stops this stops all rows."""
        outcomes = [Outcome(c) for c in cells]
        coming = deque(enumerate(outcomes))
        rows: dict[Strand, tuple[int, Outcome]] = {}
        weaver = Weaver(self.completer)

        def refill() -> bool:
            started = False
            while coming and len(rows) < self.live:
                index, outcome = coming.popleft()
                rows[weaver.spawn(self._piece(outcome.cell), self._book(outcome.cell), index)] = index, outcome
                started = True
            return started

        def ended(strand: Strand) -> None:
            index, outcome = rows.pop(strand)
            self._end(strand, outcome)
            if on_done is not None:
                on_done(index, outcome)

        weaver.run(refill, ended)
        return outcomes

    def _piece(self, cell: Cell) -> Callable[[], Any]:
        given, program = cell.row.given, getattr(self.entry, "__lampc_program__", None)
        if given is None or program is None:
            return lambda: plain(self.entry(**cell.row.inputs))

        def run() -> Returned:
            made = program(**given)
            return Returned(described(outputs(made)), made)

        return run

    def _book(self, cell: Cell) -> Book:
        journal = journal_of(self.store, self.identity, self.seed, cell, self.unkept)
        return Book(self.seed, cell.row.id, cell.rollout, cell.assignment, cell.temperature, journal)

    def _end(self, strand: Strand, outcome: Outcome) -> None:
        outcome.trace, outcome.usage = strand.steps, strand.book.usage
        row, place = outcome.cell.row.id, getattr(self.entry, "__lampc_place__", "")
        failed, value = strand.error is not None, strand.taken()
        if failed:
            error = row_error(value, row)
            outcome.error, outcome.exception = replace(error, where=error.where or place), of_the_user(value)
            unread = strand.book.unread
            if unread is not None and unread[0] in (value, value.__cause__):
                outcome.unread = unread[1]
            return
        returns = getattr(self.entry, "__lampc_returns__", ANY)
        if type(value) is dict:
            value = result_as_declared(value, returns)
        why = unfit_result(self.identity, value, returns) or unwritable_output(value)
        if why:
            outcome.error = RowError(why, place, row, "value")
        else:
            outcome.value = value


def row_error(error: Exception, row: str) -> RowError:
    """Why a row failed, at the innermost line that is the user's."""
    where = user_line(traceback.extract_tb(error.__traceback__))
    if isinstance(error, RowFailure):
        return replace(error.row_error(row), where=where)
    if isinstance(error, LMError):
        return RowError(str(error), where, row, "model")
    if isinstance(error, RetrieverError):
        return RowError(str(error), where, row, "host")
    if isinstance(error, ParseFailure):  # of an adapter of the user's
        return RowError(f"{type(error).__name__}: {error}", where, row, "parse", error.text)
    return RowError(f"{type(error).__name__}: {error}", where, row, "host")


__all__ = ["LIVE", "EagerAnswer", "EagerCall", "EagerRun", "SessionCompleter", "row_error", "run_eager", "user_line"]
