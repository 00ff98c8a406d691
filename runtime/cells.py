"""The table of program runs that an optimisation wants: every distinct cell is run once, ever.

A cell is a candidate, a row and a rollout. Equal cells are run once in a process; finished ones are kept in the
store (kind `job`), so a later process that asks for the same cell reads it there. What a cell is equal by: the
program's text and the files it reads, the models, their mode, the seed, the parameters in force, the row's
inputs and the rollout.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, Module, digest, freeze
from lampc.ir.adapters import Bound, bind_predictors
from lampc.ir.prog import DefRetriever, DefTool, Py
from lampc.ir.unit import Unit
from lampc.runtime.host_sources import host_identity
from lampc.runtime.hosts import HostError, resolve
from lampc.runtime.types import Cell, Outcome, Row, RowError, TraceStep, Usage

if TYPE_CHECKING:
    from lampc.runtime.session import Session

TRANSIENT = ("model", "host")
"""Kinds of failures that may be gone next time: such cells are run again by a later process."""


@dataclass(frozen=True)
class Budget:
    """What a run may cost at most; 0 is no limit. `runs` are cells, `seconds` those of this process."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    runs: int = 0

    @staticmethod
    def of(pairs: Iterable[tuple[str, float]]) -> Budget:
        """From a declaration's `budget (tokens: 2M, time: 900s)`. Raises ValueError for an unknown name."""
        names = {"calls": "calls", "tokens": "tokens", "time": "seconds", "seconds": "seconds", "runs": "runs"}
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name not in names:
                raise ValueError(f"there is no budget `{name}`; known: calls, tokens, time, runs")
            values[names[name]] = value if names[name] == "seconds" else int(value)
        return Budget(**values)

    def spent(self, usage: Usage, runs: int, seconds: float) -> str:
        """Name of the first limit that is reached, or an empty text."""
        reached = {
            "calls": self.calls and usage.calls >= self.calls,
            "tokens": self.tokens and usage.prompt_tokens + usage.generated_tokens >= self.tokens,
            "seconds": self.seconds and seconds >= self.seconds,
            "runs": self.runs and runs >= self.runs,
        }
        return next((name for name, over in reached.items() if over), "")


UNLIMITED = Budget()


class BudgetSpent(Exception):
    """Raised out of a batch of runs; `limit` is the name of the limit. What is finished is kept."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the budget of {limit} is spent")
        self.limit = limit


class NotStored(Exception):
    """Cells are wanted that no process has finished."""


Heard = Callable[[Outcome], None]


class CellTable:
    """Finished cells of one program, by key.

    `usage` counts every cell that was wanted once, whichever process ran it; `fresh` and `stored` are how many
    were run here and how many were read from the store. While `offline`, nothing is run: NotStored is raised.
    """

    def __init__(self, session: Session, program: Unit | Module, entry: str | None, budget: Budget = UNLIMITED) -> None:
        self.session, self.program, self.entry, self.budget = session, program, entry, budget
        self.module = program.module if isinstance(program, Unit) else program
        self.usage = Usage()
        self.fresh, self.stored = 0, 0
        self.started = time.monotonic()
        self._done: dict[str, Outcome] = {}
        self._keys: dict[tuple[Assignment, int, int], tuple[Row, str]] = {}
        self._candidates: dict[Assignment, str] = {}
        self._program = f"{self.module.digest()} {entry or ''} {_surroundings(self.module, program, session)}"
        self.offline = False

    # -- identity -----------------------------------------------------------------------------------

    def key(self, cell: Cell) -> str:
        """What the cell is stored under."""
        row = cell.row
        spot = (cell.assignment, id(row), cell.rollout)  # the row is kept, so its id stays its own
        if spot not in self._keys:
            parts = (self._program, self.session.seed, self.candidate(cell.assignment), row.id, cell.rollout)
            self._keys[spot] = (row, digest((*parts, freeze(row.inputs))))
        return self._keys[spot][1]

    def candidate(self, assignment: Assignment) -> str:
        """Identity of a candidate: the parameters in force and the models they name."""
        if assignment not in self._candidates:
            bound = bind_predictors(self.module, assignment)
            others = {k: v for k, v in assignment.values.items() if k.rpartition(".")[0] not in bound}
            parts = [self._parameters(b) for b in bound.values()]
            self._candidates[assignment] = digest((tuple(parts), freeze(others)))
        return self._candidates[assignment]

    def _parameters(self, bound: Bound) -> tuple[Any, ...]:
        model = self.session.models.get(bound.model, self.module)
        numerics = model.target.info.digest, model.mode, model.structured
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
            record = self.session.store.get("job", key)
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
            if outcome.error is None or outcome.error.kind not in TRANSIENT:
                self.session.store.put("job", keys[index], _record(outcome))
            self.fresh += 1
            self._keep(keys[index], outcome, heard)

        outcomes = self.session.run_cells(self.program, list(todo.values()), self.entry, done)
        for i, outcome in enumerate(outcomes):
            done(i, outcome)

    def _keep(self, key: str, outcome: Outcome, heard: Heard | None) -> None:
        self._done[key] = outcome
        self.usage += outcome.usage
        if heard is not None:
            heard(outcome)
        limit = self.budget.spent(self.usage, len(self._done), time.monotonic() - self.started)
        if limit:
            raise BudgetSpent(limit)

    @property
    def cells(self) -> int:
        """Distinct cells finished."""
        return len(self._done)

    def outcomes(self) -> list[Outcome]:
        """All finished cells."""
        return list(self._done.values())


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
        parts += [host_identity(program.host_entry)] if program.host_entry is not None else []
    for target in sorted({op.ref.target for op in module.walk() if isinstance(op, Py | DefTool)}):
        with contextlib.suppress(HostError):  # likewise
            parts.append(host_identity(resolve(target, base)))
    for file in files:
        with contextlib.suppress(OSError):  # a missing file is an error of the rows that need it
            parts.append(hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest())
    return " ".join(parts)


_KEPT = tuple(name for name in Usage.__slots__ if name != "seconds")
"""Counts that are kept of a cell, in this order; later ones may be missing in records of older versions."""


def _record(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    return {
        "value": outcome.value,
        "error": [error.message, error.where, error.row, error.kind] if error else None,
        "trace": [[t.predictor, t.inputs, t.outputs, t.text, t.where] for t in outcome.trace],
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
    )
