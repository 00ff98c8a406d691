"""The regions of the executor's programs: arms, bodies of maps and loops, what is tried.

`Executor` derives from `Regions`, as it does from `LMCalls`.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from lampc.ir import Region, Value
from lampc.ir.prog import Loop, Map, Try
from lampc.runtime.blocks import Block, Done, Scope
from lampc.runtime.client import OnText
from lampc.runtime.compile import is_ordered
from lampc.runtime.lmcalls import LMCalls
from lampc.runtime.modelview import ModelView
from lampc.runtime.pipes import Hearing, Pipe
from lampc.runtime.streaming_fields import family
from lampc.runtime.votes import Ballot


class Regions(LMCalls):
    """See the module's text. `pipes` are maps that begin before their list is whole; `whole` runs leave nothing out."""

    pipes: dict[tuple[Block, int], Pipe]
    whole: bool

    @abstractmethod
    def _enter(
        self,
        scope: Scope,
        region: Region,
        env: dict[Value, Any],
        parent: Block | None,
        path: tuple[str, ...],
        indices: tuple[int, ...],
        order: tuple[int, ...],
        done: Done,
    ) -> None:
        """Activate a region: `done` is called with what it yields."""

    def _region(self, block: Block, i: int, region: Region) -> None:
        def done(out: list[Any]) -> None:
            self._resolve(block, i, out)

        self._enter(block.scope, region, {}, block, block.path, block.indices, (*block.order, i), done)

    def _try(self, block: Block, i: int, op: Try) -> None:
        outer = block.scope
        scope = Scope(block.task, outer, (block, i))
        outer.pending += 1

        def ended() -> None:
            outer.pending -= 1
            if outer.wants(block, i):
                message = scope.failure.message if scope.failure is not None else ""
                self._resolve(block, i, [*([None] * (len(op.outs) - 1)), message])
            self._settle(outer)

        def done(out: list[Any]) -> None:
            scope.over = True
            outer.pending -= 1
            if outer.wants(block, i):
                self._resolve(block, i, [*out, None])
            self._settle(outer)

        scope.ended = ended
        self._enter(scope, op.body, {}, block, block.path, block.indices, (*block.order, i), done)

    def _map(self, block: Block, i: int, op: Map, items: Sequence[Any]) -> None:
        pipe = self.pipes.pop((block, i), None) if self.pipes else None
        if pipe is not None:
            pipe.open(items)
            return
        if not items:
            self._resolve(block, i, [[]])
            return
        if op.decides:
            Ballot(self, block, i, op, items).open()
            return

        _Items(self, block, i, op, items).open()

    def _item(self, scope: Scope, block: Block, i: int, op: Map, items: Sequence[Any], n: int, done: Done) -> None:
        env = {op.body.args[0]: items[n], op.body.args[1]: n}
        self._enter(scope, op.body, env, block, block.path, (*block.indices, n), (*block.order, i, n), done)

    def _iterate(self, block: Block, i: int, op: Loop, carried: list[Any], n: int) -> None:
        count = len(op.init)

        def done(values: list[Any]) -> None:
            stop, *rest = values
            if stop or n + 1 >= op.max:
                self._resolve(block, i, rest)
            else:
                self._iterate(block, i, op, rest[:count], n + 1)

        env = dict(zip(op.body.args, [*carried, n], strict=True))
        self._enter(block.scope, op.body, env, block, block.path, (*block.indices, n), (*block.order, i, n), done)

    def _hearing(self, block: Block, i: int, model: ModelView) -> OnText | None:
        found = block.plan.pipes.get(i)
        if found is None or not hasattr(model.model, "spare"):
            return None
        j, parse, needs = found
        op = block.plan.region.ops[j]
        assert isinstance(op, Map)
        if family(parse.layout) is None:
            return None
        pipe = self.pipes[block, j] = Pipe(self, block, j, op, needs, model.model.spare)
        return Hearing(self.services.desk, pipe, op.streams, parse.layout, parse.signature)


class _Items:
    """One activation of a map that needs all of its items. Those of an ordered one begin one after another."""

    def __init__(self, executor: Regions, block: Block, i: int, op: Map, items: Sequence[Any]) -> None:
        self.executor, self.block, self.i, self.op, self.items = executor, block, i, op, items
        self.ordered = is_ordered(op)
        self.out: list[Any] = [None] * len(items)
        self.left = len(items)

    def open(self) -> None:
        """Start all items that may start."""
        for n in range(1 if self.ordered else len(self.items)):
            self._launch(n)

    def _launch(self, n: int) -> None:
        done = functools.partial(self._done, n)
        self.executor._item(self.block.scope, self.block, self.i, self.op, self.items, n, done)

    def _done(self, n: int, values: list[Any]) -> None:
        self.out[n] = values
        self.left -= 1
        if not self.left:
            self.executor._resolve(self.block, self.i, [[v for v, *keep in self.out if not keep or keep[0]]])
        elif self.ordered:
            self._launch(n + 1)


__all__ = ["Regions"]
