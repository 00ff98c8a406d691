"""The executor: runs lowered programs for all cells at once, every op as soon as its operands are there.

A *task* is one cell; a *block* is one activation of a region, with its own values. Ops that only compute
run at once; LM calls go to the call desk and resume their block when answered. Nothing here decides what
runs together: whatever is ready is handed over, and the plan orders it by shared prefixes.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from lampc.ir import Assignment, Op, Region, Value, digest
from lampc.ir.adapters import Bound, bind_predictors
from lampc.ir.kv import Extend, Generate, Root, Score
from lampc.ir.prog import Assert, Call, If, Loop, Map, Match, Py, Retrieve, Tool, Try
from lampc.ir.requests import Parse, RequestOp
from lampc.runtime.ahead import Branches, arm_of
from lampc.runtime.blocks import Block, ContextValue, Done, Scope, Services, Task
from lampc.runtime.compile import Executable, predictor_of
from lampc.runtime.early import EarlyPrefills
from lampc.runtime.failures import RowFailure, UnreadableAnswer, as_declared, unfit, unwritable_output
from lampc.runtime.hostcalls import HostCalls
from lampc.runtime.hostdesk import HostDesk
from lampc.runtime.interp import HostCall, arguments, entry_function, host_call
from lampc.runtime.ops import compute, items_of
from lampc.runtime.places import of_the_user
from lampc.runtime.regions import Regions
from lampc.runtime.tool_journal import journal_of
from lampc.runtime.types import Cell, Outcome

_NUMBERS = itertools.count(1)  # of cells, for events


class Executor(HostCalls, Regions):
    """Runs cells; `max_live` bounds how many are under way at a time, `host` calls tools and Python functions.

    `whole` runs leave nothing out, so that their traces hang on no schedule.
    """

    def __init__(
        self, services: Services, max_live: int = 1024, host: HostCall = host_call, *, whole: bool = False
    ) -> None:
        super().__init__(services)
        self.max_live, self.whole = max_live, whole
        self.hosts = HostDesk(services.desk, host)
        self.ready: deque[tuple[Block, int]] = deque()
        self.early = EarlyPrefills(services.desk, predictor_of, self._encode)
        self.pipes = {}
        self.lookups = []
        self.kept_back = deque()
        self.live = 0
        self._tasks: set[Task] = set()  # under way
        self.ahead = Branches(self, services.ahead) if services.ahead is not None else None

    def run(
        self,
        cells: Sequence[tuple[Cell, Executable]],
        on_done: Callable[[int, Outcome], None] | None = None,
    ) -> list[Outcome]:
        """Run all cells; `on_done(index, outcome)` is called as each ends. A row's failure is its outcome."""
        try:
            return self._run(cells, on_done)
        finally:
            self.hosts.close()
            for contexts in self._contexts.values():
                if contexts is not None:
                    contexts.close()
            self.early.close()
            self.pipes.clear()
            for task in self._tasks:
                task.untie()

    def _run(
        self, cells: Sequence[tuple[Cell, Executable]], on_done: Callable[[int, Outcome], None] | None
    ) -> list[Outcome]:
        outcomes = [Outcome(cell) for cell, _ in cells]
        self.on_done = on_done
        bounds: dict[tuple[int, Assignment], tuple[dict[str, Bound], str]] = {}
        self._cells = cells
        waiting = deque(enumerate(cells))
        desk = self.services.desk
        while waiting or self.live:
            while waiting and self.live < self.max_live:
                index, (cell, exe) = waiting.popleft()
                spot = (id(exe), cell.assignment)
                if spot not in bounds:
                    bounds[spot] = (bind_predictors(exe.module, cell.assignment), digest(cell.assignment))
                bound, candidate = bounds[spot]
                self._start(Task(index, cell, exe, bound, candidate, outcomes[index]))
            while self.ready or self._outside():
                if not self.ready:
                    continue
                block, i = self.ready.popleft()
                block.scope.queued -= 1
                if block.scope.wants(block, i):
                    self._step(block, i)
                self._settle(block.scope)
            if self.live and (not waiting or self.live >= self.max_live):
                if self.ahead is not None and self.ahead.look():
                    continue
                if desk.idle and any(gate.force() for gate in self._admissions.values()):
                    continue
                if desk.idle:
                    raise RuntimeError("live tasks wait for nothing: a bug in the lowered program")
                self.early.consider()
                desk.advance()
        return outcomes

    # -- tasks and blocks ---------------------------------------------------------------------------

    def _start(self, task: Task) -> None:
        self.live += 1
        self._tasks.add(task)
        task.number = next(_NUMBERS)
        self.services.desk.bus.emit("row.start", row=task.cell.row.id, rollout=task.cell.rollout, cell=task.number)
        func = task.exe.func
        if self.hosts.call is host_call:
            kept = self.services.store, func.symbol, self.services.seed, task.cell, self.services.unkept
            task.tools = journal_of(*kept)
        scope = Scope(task)
        scope.ended = lambda: self._end(task)
        try:
            values = arguments(func, task.cell.row.inputs)
        except RowFailure as e:
            self._fail(scope, (), e)
            self._settle(scope)
            return
        env = dict(zip(func.body.args, values, strict=True))
        self._enter(scope, func.body, env, None, (), (), (), lambda out: self._succeed(scope, out[0]))

    def _succeed(self, scope: Scope, value: Any) -> None:
        func = scope.task.exe.func
        value = as_declared(func, value)
        outputs = value if isinstance(value, dict) else {"value": value}
        why = unfit(func, value) or unwritable_output(outputs)
        if why:
            raise RowFailure(why, func.body.terminator)
        scope.task.outcome.value = outputs
        scope.over = True
        self._end(scope.task)

    def _fail(self, scope: Scope, at: tuple[int, ...], failure: RowFailure) -> None:
        """The op at `at` failed; of several failures the first in program order is kept."""
        if scope.failed is None or at < scope.failed:
            scope.failed, scope.failure = at, failure
            if scope.outer is None:
                scope.task.outcome.error = failure.row_error(scope.task.cell.row.id)
                scope.task.outcome.exception = of_the_user(failure).__cause__ or failure
                scope.task.outcome.unread = failure.step() if isinstance(failure, UnreadableAnswer) else None

    def _settle(self, scope: Scope) -> None:
        """End a failed scope once nothing of it is under way, so that usage is whole."""
        if scope.bets and (scope.over or scope.failed is not None) and self.ahead is not None:
            self.ahead.call_off(scope)
        if scope.over or scope.pending or scope.queued or (scope.failed is None and scope.wanted()):
            return
        scope.over = True
        assert scope.ended is not None
        scope.ended()

    def _end(self, task: Task) -> None:
        self.live -= 1
        self._tasks.remove(task)
        for gate in self._admissions.values():
            gate.ended(task)
        for contexts in self._contexts.values():
            if contexts is not None:
                contexts.ended(task)
        for scope in task.scopes:
            if scope.bets and self.ahead is not None:
                self.ahead.call_off(scope)
        task.untie()
        task.steps.sort(key=lambda s: s[0])
        task.outcome.trace = [step for _, step in task.steps]
        error = {"error": task.outcome.error.message} if task.outcome.error else {}
        told = {"row": task.cell.row.id, "rollout": task.cell.rollout, "cell": task.number, **error}
        self.services.desk.bus.emit("row.end", **told)
        if self.on_done:
            self.on_done(task.index, task.outcome)

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
        plan = scope.task.exe.plan(region)
        block = Block(scope, plan, env, parent, path, indices, order, list(plan.waits), done)
        if plan.early:
            self.early.note(block)
        for i, count in enumerate(plan.waits):
            if not count:
                self._queue(block, i)
        if self.ahead is not None and plan.branches:
            self.ahead.enter(block)

    def _resolve(self, block: Block, i: int, results: Sequence[Any]) -> None:
        """Op `i` of the block has its results: wake whoever waited for them."""
        op = block.plan.region.ops[i]
        if self._contexts and op in block.task.exe.ends:
            self._left(block, i)
        for value, result in zip(op.results, results, strict=True):
            block.env[value] = result
            for j in block.plan.dependents.get(value, ()):
                self._wake(block, j)
        following = block.plan.following.get(i)
        if following is not None:
            self._wake(block, following)
        self._wake(block, len(block.waits) - 1)
        if block.plan.early:
            self.early.note(block)

    def _wake(self, block: Block, i: int) -> None:
        block.waits[i] -= 1
        if not block.waits[i]:
            self._queue(block, i)

    def _queue(self, block: Block, i: int) -> None:
        block.scope.queued += 1
        self.ready.append((block, i))

    # -- ops ----------------------------------------------------------------------------------------

    def _step(self, block: Block, i: int) -> None:
        op = block.plan.region.ops[i]
        try:
            if isinstance(op, Tool | Py | Retrieve) and (bet := block.scope.open_bet()) is not None:
                bet.hold(block, i)
                return
            args = [block.get(v) for v in op.operands]
            if i == len(block.waits) - 1:
                block.done(args)
                return
            self._run_op(block, i, op, args)
        except RowFailure as e:
            self._fail(block.scope, (*block.order, i), e.at(op))

    def _run_op(self, block: Block, i: int, op: Op, args: list[Any]) -> None:
        match op:
            case Extend():
                self._resolve(block, i, [self._extend(block, op, args)])
            case Root():
                self._resolve(block, i, [ContextValue(self.services.model(op.model.name), ())])
            case Generate():
                if op.early:
                    self.early.asked(block, i)
                self._generate(block, i, op, args[0])
            case Score():
                self._score(block, i, op, args[0])
            case RequestOp():
                self._request(block, i, op, args)
            case Parse():
                self._parse(block, i, op, args)
            case If() | Match():
                arm = arm_of(op, args[0])
                if self.ahead is None or not self.ahead.decide(block, i, arm):
                    self._region(block, i, op.regions[arm])
            case Map():
                self._map(block, i, op, items_of(args[0]))
            case Loop():
                self._iterate(block, i, op, args, 0)
            case Try():
                self._try(block, i, op)
            case Call():
                func = entry_function(block.task.exe.module, op.callee.name)
                env = dict(zip(func.body.args, args, strict=True))
                path = block.path + op.key.path
                done: Done = lambda out: self._resolve(block, i, out)  # noqa: E731
                self._enter(block.scope, func.body, env, None, path, block.indices, (*block.order, i), done)
            case Retrieve():
                self._retrieve(block, i, op, args)
            case Tool() | Py():
                self._host(block, i, op, args)
            case Assert():
                if not args[0]:
                    raise RowFailure(op.message, op, "assert")
                self._resolve(block, i, [])
            case _:
                try:
                    result = compute(op, args, block.task.exe.module, block.task.cell.assignment)
                except TypeError as e:
                    raise RowFailure(f"{op.op_name} cannot be executed: {e}", op) from None
                self._resolve(block, i, [result])
