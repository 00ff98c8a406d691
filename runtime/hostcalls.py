"""What the executor's rows ask for outside of models: tools, Python functions, passages.

`Executor` derives from `HostCalls`, as it does from `LMCalls`.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any

from lampc.frontend.python.modules.observe import is_error_text
from lampc.ir.lookup import Lookup
from lampc.ir.prog import DefTool, Py, Retrieve, Tool
from lampc.runtime.blocks import Block
from lampc.runtime.early import EarlyPrefills
from lampc.runtime.failures import RowFailure
from lampc.runtime.hostdesk import HostDesk
from lampc.runtime.hosts import resolved
from lampc.runtime.interp import found, lookup_of
from lampc.runtime.lmcalls import LMCalls
from lampc.runtime.retrieval.desk import unfound
from lampc.runtime.tool_journal import Entry


class HostCalls(LMCalls):
    """See the module's text. `live` rows are under way. `lookups` and `kept_back` (calls of tools) wait until nothing
    else can go on."""

    hosts: HostDesk
    live: int
    early: EarlyPrefills
    lookups: list[tuple[Block, int, Retrieve, Lookup]]
    kept_back: deque[tuple[Block, int, Tool, list[Any], Entry | None]]

    def _retrieve(self, block: Block, i: int, op: Retrieve, args: list[Any]) -> None:
        task, brought = block.task, self.services.brought
        block.scope.pending += 1
        self.lookups.append((block, i, op, lookup_of(op, args, task.exe.module, task.cell.assignment, brought)))

    def _host(self, block: Block, i: int, op: Tool | Py, args: list[Any]) -> None:
        scope, call = block.scope, (op, args, block.task.exe.module, self.services.base)
        entry = self._entry(block, i, op, args) if isinstance(op, Tool) else None
        if entry is not None and entry.known:
            self._resolve(block, i, [entry.value])
            return

        def ended(future: Future[Any]) -> None:
            scope.pending -= 1
            try:
                value = future.result()
                if scope.wants(block, i):
                    self._resolve(block, i, [value])
            except RowFailure as e:
                self._fail(scope, (*block.order, i), e.at(op))
            self._settle(scope)

        if self.hosts.ask(*call, ended, partial(_kept, entry, op), self.live > 1):
            scope.pending += 1
        elif isinstance(op, Tool) and block.plan.early:
            scope.pending += 1
            self.kept_back.append((block, i, op, args, entry))
        else:
            self._resolve(block, i, [_kept(entry, op, self.hosts.now(*call))])

    def _entry(self, block: Block, i: int, op: Tool, args: list[Any]) -> Entry | None:
        """The entry of a call in the journal of its row, if that is kept. Raises RowFailure."""
        journal, definition = block.task.tools, block.task.exe.module.lookup(op.tool.name)
        if journal is None or not isinstance(definition, DefTool):
            return None
        called = resolved(definition.ref, self.services.base)
        site = "/".join(map(str, (*block.order, i)))
        return journal.entry(definition.symbol, site, called, args, {"observed": op.observed})

    def _outside(self) -> bool:
        """Nothing else can go on: do some of what waits for that. Whether there was anything."""
        if self.kept_back:
            self._call_tool(*self.kept_back.popleft())
        elif self.lookups:
            self._look_up()
        else:
            return False
        return True

    def _call_tool(self, block: Block, i: int, op: Tool, args: list[Any], entry: Entry | None) -> None:
        """Call a tool on this thread. All that is known of prompts is known by now, so that they can be begun."""
        scope = block.scope
        scope.pending -= 1
        try:
            if scope.wants(block, i):
                module, base = block.task.exe.module, self.services.base
                value = self.hosts.now(op, args, module, base, self.early.meanwhile)
                self._resolve(block, i, [_kept(entry, op, value)])
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


def _kept(entry: Entry | None, op: Tool | Py, value: Any) -> Any:
    """A tool's result, put down in the journal; what it raised before an agent is no result."""
    failed = isinstance(op, Tool) and op.observed and is_error_text(value)
    return value if entry is None or failed else entry.keep(value)


__all__ = ["HostCalls"]
