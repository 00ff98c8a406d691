"""How programs reach an engine without a plan: rival ways to hand calls over, all on the same executor and engine.

No call is merged with an equal one, nothing is retained, and the order is the rival's own.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lampc.backend.core import EngineCore
from lampc.backend.simulated import SimulatedEngine
from lampc.ir import CallKey, Draw, Op, Sampling
from lampc.ir.prog import Tool
from lampc.runtime.blocks import Block, Services
from lampc.runtime.client import Deliver
from lampc.runtime.events import EventBus
from lampc.runtime.execute import Executor
from lampc.runtime.failures import RowFailure
from lampc.runtime.interp import host_call
from lampc.runtime.models import NOT_KNOWN, KvUse, ModelCall
from lampc.runtime.modelview import ModelView
from lampc.runtime.rehearsal import RehearsedModel
from lampc.runtime.types import Usage
from program_bench.tools import ToolDesk


@dataclass(frozen=True, slots=True)
class Rival:
    """A way to run many rows. `live` rows are under way at a time, 0 for all.

    `one_each`: a row asks one call after another, as plain Python does. `by_op`: the calls of one predictor are run
    together, and the next predictor waits for them. `longest_prefix`: of the calls that wait, the one goes first whose
    prompt is cached the furthest when there is room for it. `by_trial`: a trial begins when the one before it ended.
    `kept`: the engine keeps answers to their form by the same grammars as ours, and computes forced text at once.
    """

    name: str
    live: int = 0
    one_each: bool = False
    by_op: bool = False
    longest_prefix: bool = False
    by_trial: bool = True
    prefix_cache: bool = True
    kept: bool = False


RIVALS = (
    Rival("sequential", live=1, one_each=True, prefix_cache=False),
    Rival("pool", live=16, one_each=True),
    Rival("kept pool", live=16, one_each=True, kept=True),
    Rival("by_op", by_op=True),
    Rival("online", longest_prefix=True, by_trial=False),
)
"""Naive; a pool of threads over rows, as programs are run today; the same with grammars; operator
by operator; online, longest prefix first."""


class PlainDesk:
    """Takes calls of an executor, and gives them to a model in a rival's order."""

    def __init__(self, rival: Rival, model: RehearsedModel) -> None:
        self.bus = EventBus()
        self._rival, self._model = rival, model
        self._queue: deque[tuple[ModelCall, tuple[str, int]]] = deque()
        self._open: dict[int, tuple[Deliver, tuple[str, int]]] = {}
        self._rows: Counter[tuple[str, int]] = Counter()  # calls of a row that the model has
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        engine = model.engine
        self._clock: Callable[[], float] = engine.clock if isinstance(engine, SimulatedEngine) else time.monotonic
        self._sleep = engine.clock.sleep if isinstance(engine, SimulatedEngine) else time.sleep

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not (self._open or self._timers)

    def request(
        self,
        model: ModelView,
        sampling: Sampling,
        draw: Draw,
        deliver: Deliver,
        *,
        ids: tuple[int, ...] = (),
        messages: tuple[tuple[str, str], ...] = (),
        score: tuple[int, ...] = (),
        node: str = "",
        cell: int = 0,
        depth: int = 0,
        use: KvUse = NOT_KNOWN,
    ) -> None:
        """See `lampc.runtime.client.Client`."""
        bits = draw.bits() if sampling.temperature else 0
        call = ModelCall(CallKey("", "", "", sampling, bits), sampling, bits, ids, messages, score, node)
        call.grammar = model.grammar
        row = (draw.row, draw.sample)
        self._open[id(call)] = deliver, row
        self._queue.append((call, row))

    def after(self, seconds: float, ready: Callable[[], None]) -> None:
        """Call `ready` once so many seconds have passed."""
        heapq.heappush(self._timers, (self._clock() + seconds, next(self._order), ready))

    def advance(self) -> None:
        """Hand calls over, let the engine work for a step or time pass, deliver what is there."""
        while self._timers and self._timers[0][0] <= self._clock():
            heapq.heappop(self._timers)[2]()
            return
        self._hand_over()
        if not self._model.busy:
            assert self._timers, "calls wait and nothing runs"
            self._sleep(self._timers[0][0] - self._clock())
            return
        for call, answer in self._model.advance():
            deliver, row = self._open.pop(id(call))
            self._rows[row] -= 1
            used = (answer.prompt_tokens, answer.computed_tokens, answer.cached_tokens, answer.generated_tokens)
            deliver(answer, Usage(1, 0, *used))

    def _hand_over(self) -> None:
        if not self._queue:
            return
        rival, model = self._rival, self._model
        if rival.by_op:
            if not model.busy:
                node = self._queue[0][0].node
                self._send([pair for pair in self._queue if pair[0].node == node])
        elif rival.longest_prefix:
            self._send_longest()
        elif rival.one_each:
            going: list[tuple[ModelCall, tuple[str, int]]] = []
            first: dict[tuple[str, int], tuple[int, ...]] = {}
            for call, row in self._queue:  # samples of one call are asked for at once, as endpoints take `n`
                if not self._rows[row] and first.setdefault(row, call.ids) == call.ids:
                    going.append((call, row))
            self._send(going)
        else:
            self._send(list(self._queue))

    def _send_longest(self) -> None:
        """As many as the engine has places for, those first whose prompts are in its tree the furthest."""
        engine: Any = self._model.engine
        assert isinstance(engine, EngineCore)
        state = engine.metrics()
        room = engine._scheduler._max_running - state.running - state.waiting
        if room <= 0 or state.waiting:
            return
        engine._scheduler.lanes.settle()
        known = [-_matched(engine, call.ids) for call, _ in self._queue]
        order = sorted(range(len(known)), key=known.__getitem__)
        queue = list(self._queue)
        self._send([queue[i] for i in order[:room]])

    def _send(self, going: list[tuple[ModelCall, tuple[str, int]]]) -> None:
        if not going:
            return
        gone = {id(call) for call, _ in going}
        self._queue = deque(pair for pair in self._queue if id(pair[0]) not in gone)
        for _, row in going:
            self._rows[row] += 1
        self._model.submit([call for call, _ in going])


def _matched(engine: EngineCore, ids: tuple[int, ...]) -> int:
    """Tokens of a prompt that are in an engine's tree."""
    node, offset = engine._tree.match(ids)
    return node.start + offset


class WaitingExecutor(Executor):
    """An executor whose tools are waited for side by side, as threads would."""

    def __init__(self, services: Services, desk: PlainDesk, tools: ToolDesk, max_live: int) -> None:
        super().__init__(services, max_live)
        self._plain, self._tools = desk, tools

    def _run_op(self, block: Block, i: int, op: Op, args: list[Any]) -> None:
        if not isinstance(op, Tool):
            super()._run_op(block, i, op, args)
            return
        scope, tools = block.scope, self._tools
        tools.owed = 0.0
        value = host_call(op, args, block.task.exe.module, self.services.base)
        scope.pending += 1

        def ready() -> None:
            scope.pending -= 1
            try:
                if scope.wants(block, i):
                    self._resolve(block, i, [value])
            except RowFailure as e:
                self._fail(scope, (*block.order, i), e.at(op))
            self._settle(scope)

        self._plain.after(tools.owed, ready)
