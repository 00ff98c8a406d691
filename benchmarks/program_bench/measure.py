"""One run of a workload in one way: how long it took, and what it computed."""

from __future__ import annotations

import gc
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lampc.backend.core import EngineCore
from lampc.backend.hooks import watch
from lampc.backend.simulated import SimulatedEngine
from lampc.backend.steps import StepShape
from lampc.passes.table import STANDARD
from lampc.runtime.blocks import Services
from lampc.runtime.cache import CallCache
from lampc.runtime.client import Client
from lampc.runtime.compile import Executable, lower
from lampc.runtime.models import ModelCall
from lampc.runtime.modelview import ModelView
from lampc.runtime.plan import SharedPrefixes, prefix_bound
from lampc.runtime.rehearsal import RehearsedModel
from lampc.runtime.retrieval.desk import RetrievalDesk
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Cell, Outcome
from program_bench import tools
from program_bench.desk import PlainDesk, Rival, WaitingExecutor
from program_bench.offline import References, fewest
from program_bench.waiting import SimulatedClient, SimulatedHosts
from program_bench.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = "inline,lower-prompts,lower-kv"
"""What every program needs to run; no pass that saves work."""
OURS = "ours"
ARRANGED = "ours, arranged"
"""Ours in the layouts that `lampc layout` finds: gated, where every other way and pass is exact."""
ABLATIONS = (*(name for name in STANDARD.split(",") if name not in PLAIN.split(",")), "plan")
"""What ours can be run without, one at a time."""


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds are those of the wall; of a simulated run `makespan` is simulated time. `cpu` is the processor time that
    the run took: of a simulated one what runtime and scheduler take, which no simulated step knows of. Tokens are
    exact. `live_blocks` is the most that requests and retained prefixes held at a time, `peak_blocks` counts what was
    only cached, too. `planning` are seconds spent on order and sharing, `lowering` on passes. `bound` is the
    prefix-tree bound of the prompts of this run, `offline` what the best eviction would have computed in its order
    (`program_bench.offline`; 0 where that was not asked for). `outputs` is a digest of all outputs, `effects` one of
    what tools did, `sent` times."""

    family: str
    way: str
    makespan: float
    cpu: float
    calls: int
    requests: int
    prompt_tokens: int
    computed_tokens: int
    cached_tokens: int
    generated_tokens: int
    forward_tokens: int
    steps: int
    preemptions: int
    evicted_tokens: int
    kv_blocks: int
    peak_blocks: int
    live_blocks: int
    longest: int
    bound: int
    offline: int
    planning: float
    lowering: float
    failed: int
    outputs: str
    effects: str
    sent: int

    @property
    def reuse(self) -> tuple[int, ...]:
        """What a simulation must give exactly: prompt tokens asked for, computed, cached, generated, requests, steps,
        blocks."""
        return (
            self.prompt_tokens,
            self.computed_tokens,
            self.cached_tokens,
            self.generated_tokens,
            self.requests,
            self.steps,
            self.peak_blocks,
            self.live_blocks,
        )

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class _Watched(RehearsedModel):
    """Keeps the longest request, all prompts and answers, and how many blocks are held at most."""

    live_blocks = 0
    longest = 0
    tick: Callable[[], object] | None = None

    def watch(self) -> None:
        self.prompts: list[tuple[int, ...]] = []
        self.written: list[tuple[int, ...]] = []

    def advance(self) -> list[Any]:
        done = super().advance()
        if self.tick is not None:
            self.tick()
        engine: Any = self.engine
        self.live_blocks = max(self.live_blocks, engine._tree.locked_blocks)
        for call, answer in done:
            self.longest = max(self.longest, len(call.ids) + len(answer.ids) + len(call.score) + 1)
            self.prompts.append(call.ids)
            self.written.append(answer.ids)
        return done


def run(workload: Workload, engine: EngineCore, way: Rival | None, without: str = "", offline: bool = False) -> Result:
    """One run; `way` None is ours: session, passes and plan, `without` one pass, or without the "plan" of what is sent
    in which order. `offline`: find the offline optimum, too. The engine is fresh and is closed here. Where its answers
    are not known yet, a simulation comes before."""
    kept, known = way is None or way.kept, workload.of(engine.tokenizer)
    if kept not in known.kept and not isinstance(engine, SimulatedEngine):
        run(workload, SimulatedEngine.like(engine, without_cost), way, without)
    known.kept.add(kept)
    references = References()
    if offline:
        watch(engine, references)
    model = _Watched(engine, "main", workload.script(engine.tokenizer), structured=kept, taken=known.taken)
    model.watch()
    with simulated_tools(workload, engine, way is not None or isinstance(engine, SimulatedEngine)) as desk:
        batches = workload.cells()
        if way is None or not way.by_trial:
            batches = [[cell for batch in batches for cell in batch]]
        gc.collect()
        begun, cpu = time.perf_counter(), time.process_time()
        ours = _Ours(workload, model, without, desk) if way is None else None
        execute: Callable[[Sequence[Cell]], list[Outcome]]
        if ours is not None:
            execute = ours.run
        else:
            assert way is not None
            execute = plain_executor(workload, model, PlainDesk(way, model), desk, way.live)
        outcomes = [outcome for cells in batches for outcome in execute(cells)]
        wall, host = time.perf_counter() - begun, time.process_time() - cpu
        effects = sorted(desk.effects)
    stats = engine.stats()
    session = ours.session if ours is not None else None
    result = Result(
        family=workload.name,
        way=way.name if way is not None else f"{OURS} without {without}" if without else OURS,
        makespan=engine.clock.now if isinstance(engine, SimulatedEngine) else wall,
        cpu=host,
        calls=sum(o.usage.calls for o in outcomes),
        requests=stats.requests,
        prompt_tokens=stats.prompt_tokens,
        computed_tokens=stats.computed_tokens,
        cached_tokens=stats.cached_tokens,
        generated_tokens=stats.generated_tokens,
        forward_tokens=stats.forward_tokens,
        steps=stats.steps,
        preemptions=stats.preemptions,
        evicted_tokens=stats.evicted_tokens,
        kv_blocks=stats.total_blocks,
        peak_blocks=stats.peak_blocks,
        live_blocks=model.live_blocks,
        longest=model.longest,
        bound=prefix_bound(model.prompts, model.written),
        offline=fewest(references.found, stats.total_blocks * engine.info.block_size) if offline else 0,
        planning=session.desk.planning_s if session is not None else 0.0,
        lowering=ours.lowering if ours is not None else 0.0,
        failed=sum(o.error is not None for o in outcomes),
        outputs=_digest([[o.cell.row.id, o.value, str(o.error or "")] for o in outcomes]),
        effects=_digest(effects),
        sent=len(effects),
    )
    engine.check()
    if session is not None:
        session.close()
    else:
        engine.close()
    return result


class _NoPlan(SharedPrefixes):
    """Leaves calls in the order in which they were asked for, and holds on to nothing."""

    def plan(self, calls: Iterable[ModelCall]) -> list[ModelCall]:
        return list(calls)


class _Ours:
    """A session as users have it, with a cache and a store of its own."""

    def __init__(self, workload: Workload, model: _Watched, without: str, tools: tools.ToolDesk) -> None:
        self.workload, self.model, self.tools = workload, model, tools
        self.session = Session(model=model, seed=workload.seed, store=Store(None), cache=CallCache(), max_live=4096)
        if without == "plan":
            self.session.desk._shared[model] = _NoPlan(model)
        begun = time.perf_counter()
        module, entry = workload.unit.module, workload.unit.entry
        first = [cells[0] for cells in workload.cells()]
        self.session.executables(module, entry, first)
        if without and without != "plan":
            passes = ",".join(name for name in STANDARD.split(",") if name != without)
            made = self.session._executables
            for spot in made:  # by digest, entry, and structural part of a candidate
                made[spot] = Executable(lower(module, lambda _: model.target, spot[2], passes), entry)
        self.lowering = time.perf_counter() - begun

    def run(self, cells: Sequence[Cell]) -> list[Outcome]:
        """All of them at once. Where time is simulated, so are the threads on which tools wait."""
        if not isinstance(self.model.engine, SimulatedEngine):
            return self.session.run_cells(self.workload.unit, cells)
        unit, session = self.workload.unit, self.session
        lowered = session.executables(unit.module, unit.entry, cells)
        client = SimulatedClient(session.desk, self.model.engine.clock)
        with client:
            self.model.tick = client.tick
            executor = session._executor(unit.module, client, unit)
            executor.hosts = SimulatedHosts(client, self.tools)
            return executor.run(list(zip(cells, lowered, strict=True)))


def plain_executor(
    workload: Workload, model: RehearsedModel, desk: PlainDesk, waiting: tools.ToolDesk, live: int
) -> Callable[[Sequence[Cell]], list[Outcome]]:
    """The executor alone, on a program whose passes do no more than they must; `live` rows at a time, 0 for all."""
    unit, view, client = workload.unit, ModelView(model), cast(Client, desk)
    executable = Executable(lower(unit.module, lambda _: model.target, None, PLAIN), unit.entry)
    services = Services(client, lambda _: view, RetrievalDesk(Store(None), Path(".")), Path("."), workload.seed)
    executor = WaitingExecutor(services, desk, waiting, live or 1 << 30)
    return lambda cells: executor.run([(cell, executable) for cell in cells])


@contextmanager
def simulated_tools(workload: Workload, engine: EngineCore, deferred: bool) -> Iterator[tools.ToolDesk]:
    """The tools of a run: time passes on the engine's clock."""
    sleep: Callable[[float], None] = engine.clock.sleep if isinstance(engine, SimulatedEngine) else time.sleep
    before = tools.desk
    tools.desk = tools.ToolDesk(workload.latency, workload.seed, sleep, deferred)
    try:
        yield tools.desk
    finally:
        tools.desk = before


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def without_cost(shape: StepShape) -> float:
    """A cost for runs of which only tokens are wanted: a second for each step."""
    return 1.0


def tight(workload: Workload, ample: Result, share: float) -> int:
    """Tokens of KV that are so large a share of what an ample run filled, and hold at least its longest request."""
    block = 16
    return max(round(ample.peak_blocks * share), -(-ample.longest // block) + 2) * block
