"""The table of program runs that an optimisation wants: every distinct cell is run once, ever.

A cell is a candidate, a row and a rollout. Equal cells are run once in a process; finished ones are kept in the
store (kind `job`), so a later process that asks for the same cell reads it there. What a cell is equal by: the
program's text and the files it reads, the models, their mode, the seed, the parameters in force, the row's
inputs and the rollout.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, Module, digest, freeze
from lampc.ir.adapters import Bound, bind_predictors
from lampc.ir.hostvalues import classes_named
from lampc.ir.prog import DefRetriever, DefTool, Py
from lampc.ir.unit import Unit
from lampc.runtime.budget import UNLIMITED, Budget, BudgetSpent, Spending
from lampc.runtime.calling_off import guarded
from lampc.runtime.host_sources import class_identity, entry_identity, host_identity
from lampc.runtime.hosts import HostError, resolve
from lampc.runtime.objects import readable
from lampc.runtime.types import Cell, Outcome, Row, RowError, TraceStep, Usage

if TYPE_CHECKING:
    from lampc.runtime.session import Session

TRANSIENT = ("model", "host")
"""Kinds of failures that may be gone next time: such cells are run again by a later process."""


class NotStored(Exception):
    """Cells are wanted that no process has finished."""


Heard = Callable[[Outcome], None]


class CellTable:
    """Finished cells of one program, by key.

    `usage` counts every cell that was wanted once, whichever process ran it, and so does `spending`, which tables
    of several programs may share; `fresh` and `stored` are how many were run here and how many were read from the
    store. While `offline`, nothing is run: NotStored is raised.
    """

    def __init__(
        self,
        session: Session,
        program: Unit | Module,
        entry: str | None,
        spending: Spending | None = None,
        lasting: bool = True,
    ) -> None:
        self.session, self.program, self.entry, self.lasting = session, program, entry, lasting
        self.spending = spending if spending is not None else Spending()
        self.module = program.module if isinstance(program, Unit) else program
        self.usage = Usage()
        self.fresh, self.stored = 0, 0
        self._done: dict[str, Outcome] = {}
        self._keys: dict[tuple[Assignment, int, int, float | None], tuple[Row, str]] = {}
        self._candidates: dict[Assignment, str] = {}
        self._kept: dict[Assignment, bool] = {}
        self._program = f"{self.module.digest()} {entry or ''} {_surroundings(self.module, program, session)}"
        self.offline = False

    # -- identity -----------------------------------------------------------------------------------

    def key(self, cell: Cell) -> str:
        """What the cell is stored under."""
        row, spot = cell.row, spot_of(cell)  # the row is kept, so its id stays its own
        if spot not in self._keys:
            parts = (self._program, self.session.seed, self.candidate(cell.assignment), row.id, cell.rollout)
            drawn = () if cell.temperature is None else (cell.temperature,)
            self._keys[spot] = (row, digest((*parts, freeze(row.inputs), *drawn)))
        return self._keys[spot][1]

    def candidate(self, assignment: Assignment) -> str:
        """Identity of a candidate: the parameters in force and the models they name."""
        if assignment not in self._candidates:
            bound = bind_predictors(self.module, assignment)
            others = {k: v for k, v in assignment.values.items() if k.rpartition(".")[0] not in bound}
            parts = [self._parameters(b) for b in bound.values()]
            self._candidates[assignment] = digest((tuple(parts), freeze(others)))
        return self._candidates[assignment]

    def keeps(self, assignment: Assignment) -> bool:
        """Whether cells of a candidate are the same for a later run: not if a model is asked anew each time, nor if the
        table is not `lasting`, as what Python objects do may change. A store on disk keeps them in any case, for the
        run that goes on there."""
        if self.session.store.path is not None:
            return True
        if assignment not in self._kept:
            models = {b.model for b in bind_predictors(self.module, assignment).values()}
            cached = all(self.session.models.get(m, self.module).cached for m in models)
            self._kept[assignment] = self.lasting and cached
        return self._kept[assignment]

    def _parameters(self, bound: Bound) -> tuple[Any, ...]:
        model = self.session.models.get(bound.model, self.module)
        numerics = [model.target.info.digest, model.mode, model.structured]
        if model.defaults or model.extra:  # how an LM object draws
            numerics += [repr(sorted(model.defaults.items())), model.extra]
        if bound.cascade is not None:
            proxy = self.session.models.get(bound.cascade.proxy, self.module)
            numerics += [proxy.target.info.digest, proxy.mode, str(bound.cascade.threshold)]
        return (bound.name, bound.instruction, bound.demos, bound.layout, *numerics)

    # -- running ------------------------------------------------------------------------------------

    def get(self, cell: Cell) -> Outcome | None:
        """The finished cell, or None."""
        outcome = self._done.get(self.key(cell))
        return None if outcome is None else replace(outcome, cell=cell)  # equal inputs may have other labels

    def run(self, cells: Sequence[Cell], heard: Heard | None = None) -> None:
        """Finish all cells, those that are not yet in one batch. `heard` is told of each as it ends.

        Raises BudgetSpent as soon as the budget is, also half way through; finished cells are kept.
        """
        todo: dict[str, Cell] = {}
        for cell in cells:
            key = self.key(cell)
            if key in self._done or key in todo:
                continue
            record = self.session.store.get("job", key) if self.keeps(cell.assignment) else None
            if record is None:
                todo[key] = cell
                continue
            self.stored += 1
            self._keep(key, _from_record(cell, record), heard)
        keys = list(todo)
        if not keys:
            return
        if self.offline:
            raise NotStored(f"{len(keys)} runs are not in the store")

        def done(index: int, outcome: Outcome) -> None:
            if keys[index] in self._done:
                return
            passing = outcome.error is not None and outcome.error.kind in TRANSIENT
            if not passing and self.keeps(outcome.cell.assignment) and self._readable(outcome):
                self.session.store.put_first("job", keys[index], _record(outcome))
            self.fresh += 1
            self._keep(keys[index], outcome, heard)

        with self._bounded():
            outcomes = self.session.run_cells(self.program, list(todo.values()), self.entry, done, whole=True)
        for i, outcome in enumerate(outcomes):
            done(i, outcome)

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        """Calls of cells that are not finished count, too: when the budget is reached with them no more are made."""
        if self.spending.budget == UNLIMITED:
            yield
            return
        desk, spending = self.session.desk, self.spending
        before, booked = desk.books.usage, spending.usage

        def under_way() -> Usage:
            return desk.books.usage - before - (spending.usage - booked)

        with guarded(lambda: spending.check(under_way())):
            try:
                yield
            except BudgetSpent:
                spending.note(under_way())
                raise

    def _readable(self, outcome: Outcome) -> bool:
        """Whether a cell that is read back would be this one: of what cannot be written as JSON it would not."""
        return outcome.value is None or not isinstance(self.program, Unit) or readable(self.program, outcome.value)

    def _keep(self, key: str, outcome: Outcome, heard: Heard | None) -> None:
        self._done[key] = outcome
        self.usage += outcome.usage
        if heard is not None:
            heard(outcome)
        self.spending.add(outcome.usage, runs=1)

    @property
    def cells(self) -> int:
        """Distinct cells finished."""
        return len(self._done)

    def outcomes(self) -> list[Outcome]:
        """All finished cells."""
        return list(self._done.values())


def spot_of(cell: Cell) -> tuple[Assignment, int, int, float | None]:
    """A cell as a key of a dict, as long as its row lives."""
    return cell.assignment, id(cell.row), cell.rollout, cell.temperature


def _surroundings(module: Module, program: Unit | Module, session: Session) -> str:
    """Identity of what a run depends on besides the module's text: what retrievers search in, the user's Python."""
    base, files, parts = session.base, list[Path](), list[str]()
    brought = program.retrievers if isinstance(program, Unit) else {}
    retrievers = [op for op in module.body.ops if isinstance(op, DefRetriever)]
    for op in retrievers:
        if op.source and op.symbol not in session.retrieval.stores:
            files.append(base / op.source)
        else:
            parts.append(session.retrieval.identity(op, brought.get(op.symbol)))
    if retrievers:  # a candidate may choose another
        parts += [f"{name} {session.retrieval.named(name).identity}" for name in sorted(session.retrieval.stores)]
    if isinstance(program, Unit) and program.dynamic is not None:
        files.append(Path(program.path))
        parts += [entry_identity(program.host_entry)] if program.host_entry is not None else []
    if isinstance(program, Unit):
        parts.append(program.surroundings)
    for target in sorted({op.ref.target for op in module.walk() if isinstance(op, Py | DefTool)}):
        with contextlib.suppress(HostError):  # likewise
            parts.append(host_identity(resolve(target, base)))
    parts += [class_identity(host) for host in classes_named(str(module))]
    for file in files:
        with contextlib.suppress(OSError):  # a missing file is an error of the rows that need it
            parts.append(hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest())
    return " ".join(parts)


_KEPT = tuple(name for name in Usage.__slots__ if name != "seconds")
"""Counts that are kept of a cell, in this order; later ones may be missing in records of older versions."""


def _record(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    return {
        "value": None if outcome.value is None else dict(outcome.value),
        "error": [error.message, error.where, error.row, error.kind] if error else None,
        "trace": [_step(t) for t in outcome.trace],
        **({"unread": _step(outcome.unread)} if outcome.unread is not None else {}),
        "usage": [getattr(outcome.usage, name) for name in _KEPT],
    }


def _from_record(cell: Cell, record: dict[str, Any]) -> Outcome:
    error = RowError(*record["error"]) if record["error"] else None
    return Outcome(
        cell,
        record["value"],
        error,
        [TraceStep(*t) for t in record["trace"]],
        Usage(**dict(zip(_KEPT, record["usage"], strict=False))),
        TraceStep(*record["unread"]) if record.get("unread") else None,
    )


def _step(step: TraceStep) -> list[Any]:
    kept = [step.predictor, step.inputs, step.outputs, str(step.text), step.where]
    return kept if step.score is None else [*kept, step.score]


__all__ = ["TRANSIENT", "UNLIMITED", "Budget", "BudgetSpent", "CellTable", "NotStored", "Spending", "spot_of"]
