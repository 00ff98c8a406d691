"""What the executor keeps of work under way: tasks, activations of regions, and what tasks may call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Value
from lampc.ir.adapters import Bound
from lampc.runtime.calls import Client
from lampc.runtime.compile import Executable, RegionPlan
from lampc.runtime.modelview import ModelView
from lampc.runtime.types import Cell, Outcome, TraceStep

if TYPE_CHECKING:
    from lampc.runtime.retrievers import Retriever

Done = Callable[[list[Any]], None]
"""Called with the operands of a region's terminator when the activation is over."""


@dataclass(frozen=True, slots=True)
class ContextValue:
    """A value of type `kv`: a model and the ids of a prefix."""

    model: ModelView
    ids: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Task:
    """One cell under way. `pending` counts its calls that are out, `queued` its ops that are ready.

    `failed` is the place of the failure that is first in program order: what stands before it is still run, so that
    which failure is told does not depend on which answer came first. `over` once nothing more is run.
    """

    index: int
    cell: Cell
    exe: Executable
    bound: dict[str, Bound]
    candidate: str
    outcome: Outcome
    steps: list[tuple[tuple[int, ...], TraceStep]] = field(default_factory=list)
    over: bool = False
    failed: tuple[int, ...] | None = None
    pending: int = 0
    queued: int = 0

    def wants(self, block: Block, i: int) -> bool:
        """Whether op `i` of `block` is to be run."""
        return not self.over and (self.failed is None or (*block.order, i) < self.failed)


@dataclass(slots=True, eq=False)
class Block:
    """One activation of a region. `order` places it among all of the task, for traces in program order."""

    task: Task
    plan: RegionPlan
    env: dict[Value, Any]
    parent: Block | None
    path: tuple[str, ...]
    indices: tuple[int, ...]
    order: tuple[int, ...]
    waits: list[int]
    done: Done

    def get(self, value: Value) -> Any:
        block: Block = self
        while value not in block.env:
            assert block.parent is not None
            block = block.parent
        return block.env[value]


@dataclass(slots=True)
class Services:
    """What tasks may call: models and retrievers by name, and the desk for LM calls."""

    desk: Client
    model: Callable[[str], ModelView]
    retriever: Callable[[Executable, str], Retriever]
    base: Path
    seed: int
