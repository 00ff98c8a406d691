"""What a run would do and cost: the compiled program is run on engines that only count, with guessed answers.

Executor, plan, scheduler and prefix tree are those of a real run, so what they share and in which order they work is
what would happen; seconds come from the costs of each engine's steps, and from the processor time that the rest took.
Calls, tools and Python functions are not made: their results are guesses (`lampc.runtime.guesses`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, Module
from lampc.ir.adapters import bind_predictors
from lampc.runtime.accounts import Accounts, NodeAccount
from lampc.runtime.blocks import Services
from lampc.runtime.cache import CallCache
from lampc.runtime.calibrate import cost_of
from lampc.runtime.calls import CallDesk
from lampc.runtime.cascades import proxy_node, proxy_of
from lampc.runtime.client import Client
from lampc.runtime.compile import models_of
from lampc.runtime.estimate import guessed_host
from lampc.runtime.events import EventBus
from lampc.runtime.execute import Executor
from lampc.runtime.experience import Experience
from lampc.runtime.guesses import Guesses
from lampc.runtime.local import LocalModel
from lampc.runtime.modelview import ModelView
from lampc.runtime.recorded import recorded
from lampc.runtime.rehearsal import RehearsedModel
from lampc.runtime.seats import Seats
from lampc.runtime.steps import tell_steps
from lampc.runtime.store import Store
from lampc.runtime.types import Cell, Usage

if TYPE_CHECKING:
    from lampc.ir.adapters import Bound
    from lampc.runtime.models import ModelCall
    from lampc.runtime.session import Session
    from lampc.runtime.types import Row

    Heard = Callable[[Sequence[ModelCall]], None]


@dataclass(slots=True)
class Forecast:
    """Nodes in the order of their first call. `seconds` are those of engines, `host` those of everything else; `held`
    is the most tokens of K/V that are needed at a time. `failed` rows could not be followed to their end."""

    rows: int
    nodes: dict[str, NodeAccount] = field(default_factory=dict)
    bounds: dict[str, int] = field(default_factory=dict)
    usage: Usage = Usage()
    bound: int = 0
    seconds: float = 0.0
    host: float = 0.0
    held: int = 0
    kv_bytes: int = 0
    steps: int = 0
    failed: int = 0
    why: str = ""


def forecast(
    session: Session,
    module: Module,
    rows: Sequence[Row],
    entry: str,
    assignment: Assignment,
    folder: Path | None = None,
    record: Path | None = None,
    brought: Mapping[str, Any] | None = None,
) -> Forecast | None:
    """The run on `rows`, foreseen; None if one of the program's models has no steps to foresee (an endpoint, Python
    code, an engine without a scheduler). Engines whose costs are not known are measured first (`folder`: where
    costs are kept). With `record` the schedule is recorded in that folder as a run is, by the clocks of the engines.
    `brought` are stores of retrievers that objects of a Python program bring, by symbol."""
    exe = session.executable(module, entry, assignment)
    names = sorted(models_of(exe.module))
    bounds = bind_predictors(exe.module, assignment)
    bounds |= {proxy_node(n): proxy_of(b) for n, b in bounds.items() if b.cascade is not None}
    experience = Experience(folder)
    models: dict[int, RehearsedModel] = {}
    seats: dict[Seats, Seats] = {}  # of engines, and of those that stand for them
    views: dict[str, ModelView] = {}

    for name in names:
        view = session.models.get(name, module)
        made = models.get(id(view.model)) or _rehearsed(view.model, seats, bounds, experience, folder)
        if made is None:
            return None
        models[id(view.model)] = made
        views[name] = ModelView(made, view.defaults)
    clocks = [getattr(made.engine, "clock", time.monotonic) for made in seats.values()]
    bus = EventBus(clock=lambda: sum(clock() for clock in clocks))  # engines work one after another
    desk = CallDesk(Store(None), bus, CallCache())
    for made in {m.seats: m for m in models.values()}.values() if record is not None else ():
        tell_steps(made, bus)
    begun = time.process_time()
    out = Forecast(len(rows))
    with Client(desk) as client, Accounts(bus, models.values()) as accounts, recorded(record, desk):
        services = Services(client, views.__getitem__, session.retrieval, session.base, session.seed, brought or {})
        executor = Executor(services, session.max_live, guessed_host)
        outcomes = executor.run([(Cell(row, assignment), exe) for row in rows])
    out.host = time.process_time() - begun
    out.seconds, out.held, out.kv_bytes, out.steps = accounts.seconds, accounts.held, accounts.kv_bytes, accounts.steps
    out.usage = desk.books.usage
    out.bounds = desk.books.bounds() or {}
    out.bound = sum(out.bounds.values())
    for name, used in desk.books.by_node.items():
        out.nodes[name] = accounts.node(name, used)
    failed = [o for o in outcomes if o.error is not None]
    out.failed, out.why = len(failed), str(failed[0].error) if failed else ""
    for made in models.values():
        made.close()
    return out


def _rehearsed(
    model: Any, seats: dict[Seats, Seats], bounds: Mapping[str, Bound], experience: Experience, folder: Path | None
) -> RehearsedModel | None:
    from lampc.backend.errors import Unsupported
    from lampc.backend.simulated import SimulatedEngine

    if not isinstance(model, LocalModel):
        return None
    info = model.target.info
    try:
        if model.seats not in seats:
            seats[model.seats] = Seats(SimulatedEngine.like(model.engine, cost_of(model.engine, folder)))
        its = seats[model.seats]
        guesses = Guesses(bounds, its.engine.tokenizer.encode, lambda bound: experience.of(bound, info.digest))
        return RehearsedModel(
            its.engine, info.name, guesses, structured=model.structured, adapter=model.adapter, seats=its
        )
    except Unsupported:
        return None
