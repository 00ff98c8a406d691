"""Every registered optimizer, set up for a planted task."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lampc.ir import Assignment, Unit
from lampc.passes.optimize import OPTIMIZERS, Strategy
from lampc.passes.optimize.registry import optimizer
from lampc.runtime.cells import UNLIMITED, Budget
from lampc.runtime.driver import optimize
from lampc.runtime.events import Event, EventBus
from lampc.runtime.optimized import OptimizeResult
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from tests.optimize.behaviour import LAYOUTS, BehaviourLM, Planted, metric

TUNES: dict[str, tuple[str, ...]] = {
    "bootstrap": ("demos",),
    "bootstrap_optuna": ("demos",),
    "copro": ("instruction",),
    "gepa": ("instruction",),
    "instructions": ("instruction",),
    "joint": ("instruction", "demos", "layout"),
    "labeled": ("demos",),
    "parameters": ("layout",),
    "random": ("demos",),
    "random_search": ("demos",),
}
"""Which of instruction, demos and layout an optimizer changes; those not listed may change instruction and demos."""

UNGUIDED = ("fuse", "labeled", "random")
"""Those that look at no score, or change nothing that is planted: they need not find anything."""


def options(name: str, task: Planted) -> dict[str, Any]:
    """What an optimizer must be told of a task, beside its defaults."""
    known: dict[str, dict[str, Any]] = {
        "better_together": {
            "strategy": "bootstrap -> instructions -> bootstrap",
            "options": {"instructions": {"pool": task.pool()}},
        },
        "instructions": {"pool": task.pool()},
        "joint": {"pool": task.pool(), "instructions": len(task.pool()) + 1, "layouts": LAYOUTS},
        "parameters": {"choices": {f"{p}.layout": list(LAYOUTS) for p in task.names}},
    }
    return known.get(name, {})


def strategy(name: str, task: Planted, seed: int = 0) -> Strategy:
    """A registered optimizer for a task, with a seed if it takes one."""
    seeded = {"seed": seed} if "seed" in [f.name for f in fields(OPTIMIZERS[name])] else {}  # type: ignore[arg-type]
    return optimizer(name, {**seeded, **options(name, task)})


def tunes(name: str) -> tuple[str, ...]:
    return TUNES.get(name, ("instruction", "demos"))


@dataclass
class Run:
    """A finished run: its result, and after how many program runs the best score changed to what."""

    result: OptimizeResult
    curve: list[tuple[int, float]] = field(default_factory=list)

    def best_after(self, runs: int) -> float:
        """The best score on the select split after so many program runs; 0 if nothing was scored by then."""
        return max((score for at, score in self.curve if at <= runs), default=0.0)


def run(
    task: Planted,
    *steps: Strategy,
    store: Store | None = None,
    budget: Budget = UNLIMITED,
    start: Assignment | None = None,
    model: Any = None,
    record: Path | None = None,
    unit: Unit | None = None,
) -> Run:
    """Optimize a task through driver, session and prompts, on its scripted model."""
    bus, out = EventBus(), Run(OptimizeResult(Assignment()))
    cells = itertools.count()

    def hear(event: Event) -> None:
        if event.kind == "progress":
            at, best = next(cells), event.data.get("best")
            if best is not None and (not out.curve or best > out.curve[-1][1]):
                out.curve.append((at, best))

    bus.subscribe(hear)
    with Session(model=model or BehaviourLM(task), store=store, bus=bus) as session:
        out.result = optimize(
            unit or task.unit,
            session,
            steps=steps,
            train=task.train,
            select=task.dev,
            metric=metric(task),
            program=task.unit.entry,
            budget=budget,
            start=start,
            record=record,
        )
    if out.result.score_after is not None:
        out.curve.append((out.result.runs, out.result.score_after))
    return out


def names() -> list[str]:
    """Optimizers that a session runs without training anything."""
    return sorted(set(OPTIMIZERS) - {"cascade", "finetune"})
