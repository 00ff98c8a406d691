"""From a source's declarations to what the driver takes: data, metric, steps and budget of one optimisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lampc.ir import Assignment, Unit
from lampc.ir.unit import Dataset, Optimize
from lampc.passes.optimize import OptimizeError, Strategy, optimizers
from lampc.runtime.cells import Budget
from lampc.runtime.data import interface, load_dataset, shown_path, table_for
from lampc.runtime.driver import problem_of
from lampc.runtime.dryrun import DryRun, dry_run
from lampc.runtime.metrics import RowMetric, build_metric
from lampc.runtime.perform import Program
from lampc.runtime.session import Session
from lampc.runtime.types import Row

DEFAULT_STEPS: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = (("bootstrap", ()),)
"""What a program without an `optimize` declaration gets."""


@dataclass(frozen=True)
class Task:
    """One optimisation, ready to run. `splits` are all rows there are, by split; `train` and `select` two of them."""

    unit: Unit
    program: str | None
    steps: tuple[Strategy, ...]
    train: list[Row]
    select: list[Row]
    metric: RowMetric
    budget: Budget
    start: Assignment
    splits: dict[str, list[Row]]
    names: tuple[str, str]
    data: Dataset
    save: str = ""
    resume: str = ""

    def about(self) -> str:
        """The task in one line."""
        steps = ", ".join(s.name for s in self.steps)
        train, select = self.names
        rows = f"{len(self.train)} rows of {train}, scored on {len(self.select)} of {select}"
        return f"{self.program or self.unit.entry} with {steps}; {rows} by {self.metric.name}"

    def dry_run(self, session: Session | None = None) -> DryRun:
        """What it will cost: runs, calls and (by the models of a session) tokens, exact or as bounds."""
        problem = problem_of(self.unit, self.train, self.select, self.program, self.start)
        student = None if session is None else Program(self.unit, session, self.metric, problem.entry)
        return dry_run(problem, self.steps, student=student, splits={"train": self.train, "dev": self.select})


def task_of(
    unit: Unit,
    start: Assignment,
    base: Path,
    *,
    data: Path | None = None,
    program: str | None = None,
    metric: str | None = None,
    seed: int = 0,
) -> Task:
    """The task that a unit declares, with parts of it replaced. `data` is a table of the user's own.

    Raises OptimizeError, DataError, MetricError.
    """
    declared = declared_of(unit, program)
    entry = (declared.program if declared else program) or unit.entry or None
    shown = entry or unit.path or "the program"
    base_table = unit.datasets.get(declared.train[0]) if declared else next(iter(unit.datasets.values()), None)
    if data is not None:
        table = table_for(data, unit.module, None if unit.dynamic else entry, like=base_table, seed=seed)
    elif base_table is not None:
        table = base_table
    else:
        raise OptimizeError(f"{shown} declares no data; give a table of your own: --data FILE.csv")
    params, _ = interface(unit.module, entry)
    inputs = None if unit.dynamic is not None else params.names()
    splits = load_dataset(table, base, inputs=inputs)
    train_name = declared.train[1] if declared else "train"
    select_name = declared.select[1] if declared else "dev"
    for name in (train_name, select_name):
        if not splits.get(name):
            raise OptimizeError(_without(name, table, splits))
    select = splits[select_name]
    if declared and data is None and declared.select[0] != declared.train[0]:
        select = load_dataset(unit.datasets[declared.select[0]], base, inputs=inputs)[select_name]
    return Task(
        unit,
        entry,
        optimizers(declared.steps if declared else DEFAULT_STEPS, base),
        splits[train_name],
        select,
        build_metric(metric or (declared.metric if declared else "exact_match"), unit, base),
        Budget.of(declared.budget if declared else ()),
        start,
        splits,
        (f"{table.name}.{train_name}", f"{table.name}.{select_name}"),
        table,
        declared.save if declared else "",
        declared.resume if declared else "",
    )


def _without(name: str, table: Dataset, splits: dict[str, list[Row]]) -> str:
    """That a split has no rows, and what to do about it."""
    there = ", ".join(f"{n} ({len(r)})" for n, r in splits.items())
    path = shown_path(Path(table.path))
    if table.split_column:
        say = f"in column `{table.split_column}` write `{name}` for some rows"
        mend = f"{say}, or leave the column out of a `--data` table to have its rows divided"
        return f"{path}: no row is of the split `{name}`; splits: {there}; {mend}"
    total = sum(map(len, splits.values()))
    mend = "give more rows, or a column `split` that says `train`, `dev` or `test` of each"
    return f"{path}: {total} rows are too few to be divided, none is left for `{name}`; splits: {there}; {mend}"


def reseeded(task: Task, seed: int) -> Task:
    """The same task with the strategies' own seeds replaced, where they have one."""
    steps = tuple(replace(s, seed=seed) if hasattr(s, "seed") else s for s in task.steps)  # type: ignore[type-var]
    return replace(task, steps=steps)


def declared_of(unit: Unit, program: str | None) -> Optimize | None:
    """The declared optimisation of a program, of the only one if none is named. Raises OptimizeError."""
    found = [o for o in unit.optimizes if program in (None, o.program)]
    if len(found) > 1 and program is None and len({o.program for o in found}) > 1:
        raise OptimizeError(f"the file optimises several programs: say --program {'|'.join(o.program for o in found)}")
    return found[0] if found else None
