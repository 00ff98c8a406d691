"""What the executor's rows ask for outside of models: tools, Python functions, passages.

`Executor` derives from `HostCalls`, as it does from `LMCalls`.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any

from lampc.ir.lookup import Lookup
from lampc.ir.prog import Py, Retrieve, Tool
from lampc.runtime.blocks import Block
from lampc.runtime.early import EarlyPrefills
from lampc.runtime.failures import RowFailure
from lampc.runtime.hostdesk import HostDesk
from lampc.runtime.interp import found, lookup_of
from lampc.runtime.lmcalls import LMCalls
from lampc.runtime.retrieval.desk import unfound


class HostCalls(LMCalls):
    """See the module's text. `lookups` and `kept_back` (calls of tools) wait until nothing else can go on."""

    hosts: HostDesk
    early: EarlyPrefills
    lookups: list[tuple[Block, int, Retrieve, Lookup]]
    kept_back: deque[tuple[Block, int, Tool, list[Any]]]

    def _retrieve(self, block: Block, i: int, op: Retrieve, args: list[Any]) -> None:
        task, brought = block.task, self.services.brought
        block.scope.pending += 1
        self.lookups.append((block, i, op, lookup_of(op, args, task.exe.module, task.cell.assignment, brought)))

    def _host(self, block: Block, i: int, op: Tool | Py, args: list[Any]) -> None:
        scope, call = block.scope, (op, args, block.task.exe.module, self.services.base)

        def ended(future: Future[Any]) -> None:
            scope.pending -= 1
            try:
                value = future.result()
                if scope.wants(block, i):
                    self._resolve(block, i, [value])
            except RowFailure as e:
                self._fail(scope, (*block.order, i), e.at(op))
            self._settle(scope)

        if self.hosts.ask(*call, ended):
            scope.pending += 1
        elif isinstance(op, Tool) and block.plan.early:
            scope.pending += 1
            self.kept_back.append((block, i, op, args))
        else:
            self._resolve(block, i, [self.hosts.now(*call)])

    def _outside(self) -> bool:
        """Nothing else can go on: do some of what waits for that. Whether there was anything."""
        if self.kept_back:
            self._call_tool(*self.kept_back.popleft())
        elif self.lookups:
            self._look_up()
        else:
            return False
        return True

    def _call_tool(self, block: Block, i: int, op: Tool, args: list[Any]) -> None:
        """Call a tool on this thread. All that is known of prompts is known by now, so that they can be begun."""
        scope = block.scope
        scope.pending -= 1
        try:
            if scope.wants(block, i):
                module, base = block.task.exe.module, self.services.base
                self._resolve(block, i, [self.hosts.now(op, args, module, base, self.early.meanwhile)])
        except RowFailure as e:
            self._fail(scope, (*block.order, i), e.at(op))
        self._settle(scope)

    def _look_up(self) -> None:
        """Search for all rows that wait for passages, together: only then is there nothing else to go on with."""
        asked, self.lookups = self.lookups, []
        answers = self.services.retrieval.answer([ask for *_, ask in asked])
        for (block, i, op, _), hits in zip(asked, answers, strict=True):
            scope = block.scope
            scope.pending -= 1
            if isinstance(hits, Exception):
                self._fail(scope, (*block.order, i), unfound(hits, op))
            elif scope.wants(block, i):
                self._resolve(block, i, [found(op, hits)])
            self._settle(scope)


__all__ = ["HostCalls"]
