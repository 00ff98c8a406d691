"""Maps whose items are begun with while the list is still being written.

list answer   ["first", "second", "third"]
item 0                 |-------->
item 1                           |-------->
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lampc.ir.prog import Map
from lampc.runtime.blocks import Block, Scope, is_known
from lampc.runtime.streaming_items import ItemPieces

if TYPE_CHECKING:
    from lampc.ir import Signature
    from lampc.runtime.client import Client
    from lampc.runtime.failures import RowFailure
    from lampc.runtime.held_text import HeldText
    from lampc.runtime.regions import Regions


ROOM = 28
"""Requests under way beyond those of a model that has little to do, with which it still takes such items."""


class Pipe:
    """One activation of such a map: `offer` begins with items, `open` says what they are in the end. `needs` are values
    that its region uses, `spare` is that of the model (`lampc.runtime.local.LocalModel.spare`).

    Each item has a scope of its own. What fails in one counts once the item is known to be there; one that is not is
    dropped: what it did is no part of the row's trace, and who listens to answers hears nothing of it.
    """

    def __init__(
        self, executor: Regions, block: Block, i: int, op: Map, needs: Sequence[Any], spare: Callable[[int], bool]
    ) -> None:
        self.executor, self.block, self.i, self.op = executor, block, i, op
        self._needs, self._spare, self._full = needs, spare, False
        self.begun: list[Any] = []
        self._scopes: dict[int, Scope] = {}
        self._out: dict[int, list[Any]] = {}
        self._failed: dict[int, tuple[tuple[int, ...], RowFailure]] = {}
        self._items: Sequence[Any] | None = None

    def offer(self, items: Sequence[Any]) -> None:
        """Begin with some more items, if the row goes on, all else is there that they need, and the model has room."""
        block = self.block
        if self._items is not None or not block.scope.wants(block, self.i):
            return
        self._full = self._full or not all(is_known(block, v) for v in self._needs)
        for item in items:
            self._full = self._full or not self._spare(-ROOM)
            if self._full:  # from here on items wait for the list
                return
            self.begun.append(item)
            self._launch(len(self.begun) - 1, item, [])

    def open(self, items: Sequence[Any]) -> None:
        """The list is whole."""
        self._items = items
        for n, begun in enumerate(self.begun):
            if n >= len(items) or type(items[n]) is not type(begun) or items[n] != begun:
                self._drop(n)
            else:
                self._confirm(n)
        for n, item in enumerate(items):
            if n not in self._scopes:
                self._launch(n, item)
        self._count()

    def _launch(self, n: int, item: Any, unheard: list[HeldText] | None = None) -> None:
        block = self.block
        outer = block.scope
        order = (*block.order, self.i, n)
        scope = self._scopes[n] = Scope(block.task, outer, (block, self.i), order, unheard)
        outer.pending += 1

        def ended() -> None:
            outer.pending -= 1
            if scope.failed is not None and scope.failure is not None:
                self._failed[n] = scope.failed, scope.failure
                self._count()
            self.executor._settle(outer)

        def done(values: list[Any]) -> None:
            scope.over = True
            outer.pending -= 1
            self._out[n] = values
            self._count()
            self.executor._settle(outer)

        scope.ended = ended
        env = {self.op.body.args[0]: item, self.op.body.args[1]: n}
        self.executor._enter(scope, self.op.body, env, block, block.path, (*block.indices, n), order, done)

    def _count(self) -> None:
        items, outer = self._items, self.block.scope
        if items is None or not outer.wants(self.block, self.i):
            return
        if self._failed:
            self.executor._fail(outer, *min(self._failed.values(), key=lambda pair: pair[0]))
        elif len(self._out) == len(items):
            outs = [self._out[n] for n in range(len(items))]
            self._items, self.begun = None, []
            self.executor._resolve(self.block, self.i, [[v for v, *keep in outs if not keep or keep[0]]])

    def _confirm(self, n: int) -> None:
        """An item is there: who listens hears what was written for it."""
        scope = self._scopes[n]
        held, scope.unheard = scope.unheard or [], None
        around = scope.holding()
        for text in held:
            if around is None:
                text.release()
        if around is not None:  # a list within an item that nobody is sure of yet
            around += held

    def _drop(self, n: int) -> None:
        scope = self._scopes.pop(n)
        self._out.pop(n, None)
        self._failed.pop(n, None)
        if not scope.over:
            scope.over = True
            self.block.scope.pending -= 1
            self.executor._drop(scope)
        task, mine = self.block.task, (*self.block.order, self.i, n)
        task.steps = [step for step in task.steps if step[0][: len(mine)] != mine]


class Hearing:
    """Hears an answer that is being written, on whatever thread writes it, and has its client offer what is new."""

    def __init__(self, client: Client, pipe: Pipe, field: str, layout: str, signature: Signature) -> None:
        self._client, self._pipe = client, pipe
        self._pieces = ItemPieces(layout, field, [f.name for f in signature.outputs])
        self._mutex = threading.Lock()
        self._new: list[Any] = []

    def __call__(self, piece: str) -> None:
        fresh = self._pieces.push(piece)
        if not fresh:
            return
        with self._mutex:
            told = bool(self._new)
            self._new += fresh
        if not told:
            self._client.soon(self._tell)

    def _tell(self) -> None:
        with self._mutex:
            fresh, self._new = self._new, []
        self._pipe.offer(fresh)
