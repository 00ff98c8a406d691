"""A workload in the layouts that `lampc layout` finds for it, and under an optimizer's candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lampc.backend.simulated import SimulatedEngine
from lampc.ir import Assignment
from lampc.runtime.arrange import Arrangement, arrange, calls_of, candidates
from lampc.runtime.rehearsal import RehearsedModel
from lampc.runtime.session import Session
from program_bench.measure import simulated_tools
from program_bench.workload import Workload

LEAST_SAVING = 0.1
"""Layouts that save a smaller share of prompt tokens are not taken: `lampc layout` keeps the author's order then."""


def found(work: Workload, engine: SimulatedEngine) -> Arrangement:
    """The layouts for a workload's own rows and candidates."""
    model = RehearsedModel(engine, "main", work.script(engine.tokenizer))
    with simulated_tools(work, engine, True), Session(model=model, seed=work.seed) as session:
        cells = [cell for batch in work.cells() for cell in batch]
        steps = calls_of(session.run_cells(work.unit, cells))
        return arrange(session, work.unit.module, steps, list(dict.fromkeys(c.assignment for c in cells)))


def arranged(work: Workload, layouts: Mapping[str, str]) -> Workload:
    """The same workload in other layouts."""
    moved = {f"{name}.layout": layout for name, layout in layouts.items()}
    return replace(work, trials=tuple({**trial, **moved} for trial in work.trials))


def under_trials(work: Workload, trials: int) -> Workload:
    """The workload's rows under as many candidates, each with an instruction of its own."""
    changes = candidates(work.unit.module, {}, Assignment(), trials, 0, work.seed)
    made = [{k: v for k, v in a.values.items() if k.endswith(".instruction")} for a in changes]
    return replace(work, name=f"{work.name}, {trials} trials", trials=tuple(made), picked=())
