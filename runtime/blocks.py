"""What the executor keeps of work under way: tasks, activations of regions, and what tasks may call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Value
from lampc.ir.adapters import Bound
from lampc.runtime.client import Client, Waiting
from lampc.runtime.compile import Executable, RegionPlan
from lampc.runtime.held_text import HeldText
from lampc.runtime.modelview import ModelView
from lampc.runtime.types import Cell, Outcome, TraceStep, Usage

if TYPE_CHECKING:
    from lampc.runtime.ahead import Ahead, Bet
    from lampc.runtime.failures import RowFailure
    from lampc.runtime.retrieval.desk import RetrievalDesk
    from lampc.runtime.store import Store
    from lampc.runtime.tool_journal import ToolJournal

Done = Callable[[list[Any]], None]
"""Called with the operands of a region's terminator when the activation is over."""


@dataclass(frozen=True, slots=True)
class ContextValue:
    """A value of type `kv`: a model, the ids of a prefix, and how many of them there were after each op it grew by."""

    model: ModelView
    ids: tuple[int, ...]
    cuts: tuple[int, ...] = (0,)

    def grown(self, ids: tuple[int, ...]) -> ContextValue:
        """With more ids behind it."""
        return ContextValue(self.model, self.ids + ids, (*self.cuts, len(self.ids) + len(ids)))


class Said(str):
    """Text that a model wrote, with the conversation that it ends, and where it was cut."""

    __slots__ = ("cut", "turns")
    cut: str
    turns: tuple[tuple[str, str], ...]

    def __new__(cls, text: str, asked: Sequence[tuple[str, str]], cut: str = "") -> Said:
        made = super().__new__(cls, text)
        made.cut = cut
        made.turns = (*asked, ("assistant", text))
        return made


@dataclass(slots=True, eq=False)
class Scope:
    """What ends together: a whole task, or one activation of a `prog.try`, one item of a vote or one arm that was begun
    ahead (`bet`), whose `outer` scope goes on.

    `pending` counts calls and inner scopes that are under way, `queued` ops that are ready. `failed` is the place of
    the `failure` that is first in program order: what stands before it is still run, so that which failure is told
    does not depend on which answer came first. `over` once nothing more is run; `ended` is called if it fails, or if
    nobody wants it any more. `item` is the place of one of several scopes of the op at `at`: what fails in one ends
    those after it. Of a scope that may be stopped, `calls` are those that models work on, with what is told of one that
    is dropped, and `inner` the scopes in it. As long as nobody knows whether the item is there at all, `unheard` has
    what listeners are not told yet of its calls.
    """

    task: Task
    outer: Scope | None = None
    at: tuple[Block, int] | None = None
    item: tuple[int, ...] = ()
    unheard: list[HeldText] | None = None
    ended: Callable[[], None] | None = None
    over: bool = False
    failed: tuple[int, ...] | None = None
    failure: RowFailure | None = None
    pending: int = 0
    queued: int = 0
    calls: dict[Waiting, Callable[[], None]] = field(default_factory=dict)
    inner: list[Scope] = field(default_factory=list)
    bet: Bet | None = None
    bets: list[Bet] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.task.scopes.append(self)
        if self.outer is not None and self.outer.outer is not None:
            self.outer.inner.append(self)

    def wants(self, block: Block, i: int) -> bool:
        """Whether op `i` of `block` is to be run."""
        if self.over or (self.failed is not None and (*block.order, i) >= self.failed):
            return False
        return self.outer is None or self.outer.wants(block, i)

    def open_bet(self) -> Bet | None:
        """The arm begun ahead that this is part of, as long as nobody knows whether it is taken."""
        scope: Scope | None = self
        while scope is not None:
            if scope.bet is not None and not scope.bet.taken:
                return scope.bet
            scope = scope.outer
        return None

    def holding(self) -> list[HeldText] | None:
        """Where text of calls is held back, if it is: by the outermost item around that nobody is sure of."""
        scope: Scope | None = self
        found = None
        while scope is not None:
            found = scope.unheard if scope.unheard is not None else found
            scope = scope.outer
        return found

    def book(self, usage: Usage) -> None:
        """Count what a call cost."""
        self.task.outcome.usage += usage
        bet = self.open_bet()
        if bet is not None:
            bet.usage += usage

    def note(self, step: tuple[tuple[int, ...], TraceStep]) -> None:
        """Keep a step of the trace; of an arm begun ahead once it is taken."""
        bet = self.open_bet()
        (self.task.steps if bet is None else bet.steps).append(step)

    def wanted(self) -> bool:
        """Whether the scope around it still waits for it."""
        if self.outer is None:
            return True
        if self.at is None or (self.outer.failed is not None and self.item and self.item >= self.outer.failed):
            return False
        return self.outer.wants(*self.at)


@dataclass(slots=True, eq=False)
class Task:
    """One cell under way; `number` is what events call it, `scopes` are all that were opened."""

    index: int
    cell: Cell
    exe: Executable
    bound: dict[str, Bound]
    candidate: str
    outcome: Outcome
    steps: list[tuple[tuple[int, ...], TraceStep]] = field(default_factory=list)
    number: int = 0
    tools: ToolJournal | None = None
    scopes: list[Scope] = field(default_factory=list)

    def untie(self) -> None:
        """It is over: scopes and what they refer to, which refers to them, would be left to the garbage collector."""
        for scope in self.scopes:
            scope.over, scope.ended, scope.failure, scope.bet = True, None, None, None
            scope.calls, scope.inner, scope.bets = {}, [], []
        self.scopes.clear()


@dataclass(slots=True, eq=False)
class Block:
    """One activation of a region. `order` places it among all of the task, for traces in program order."""

    scope: Scope
    plan: RegionPlan
    env: dict[Value, Any]
    parent: Block | None
    path: tuple[str, ...]
    indices: tuple[int, ...]
    order: tuple[int, ...]
    waits: list[int]
    done: Done

    @property
    def task(self) -> Task:
        return self.scope.task

    def get(self, value: Value) -> Any:
        block: Block = self
        while value not in block.env:
            assert block.parent is not None
            block = block.parent
        return block.env[value]


def is_known(block: Block | None, value: Value) -> bool:
    """Whether a value is there, in a block or one around it."""
    while block is not None:
        if value in block.env:
            return True
        block = block.parent
    return False


@dataclass(slots=True)
class Services:
    """What tasks may call: models by name, the desks for LM calls and retrievals, and stores that objects brought.
    `ahead` is how branches are begun before they are decided; None if they are not. `store` keeps what tools returned;
    `unkept` gathers the names of those that it cannot."""

    desk: Client
    model: Callable[[str], ModelView]
    retrieval: RetrievalDesk
    base: Path
    seed: int
    brought: Mapping[str, Any] = field(default_factory=dict)
    ahead: Ahead | None = None
    store: Store | None = None
    unkept: set[str] = field(default_factory=set)
