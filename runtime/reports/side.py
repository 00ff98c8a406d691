"""One side of a comparison: a program with chosen parameters, and its score where it is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lampc.ir import Assignment, Module
from lampc.runtime.journal import FOUND_FILE, read_assignment
from lampc.runtime.report import Interval
from lampc.runtime.reports.intervals import paired_gain
from lampc.runtime.reports.read import RUN_FILE, ReportError, read_report, read_run
from lampc.runtime.saved import load_saved


@dataclass(frozen=True, slots=True)
class Side:
    """`scores` are those of the rows of the select split (0 to 1, None where a row was not scored); two sides whose
    `data` is the same, and not empty, were scored on the same rows by the same metric."""

    name: str
    module: Module
    assignment: Assignment
    score: float | None = None
    scores: tuple[float | None, ...] = ()
    data: str = ""


def of_run(path: Path) -> Side:
    """The result of a run: its folder, or its `run.json`. Raises ReportError, CompileError, OSError."""
    run, folder = read_run(path)
    found = folder / FOUND_FILE
    if not found.is_file():
        raise ReportError(f"{found}: no such file: the run did not keep the program that it began with")
    module = load_saved(found).module
    report = read_report(folder)
    best = report.trial("result") or report.trial("start")
    chosen = read_assignment(run["assignment"]) if run.get("assignment") else Assignment()
    return Side(
        str(path), module, chosen, report.after, best.scores if best else (),
        f"{json.dumps(run.get('data'), sort_keys=True)} {run.get('metric')}",
    )  # fmt: skip


def of_saved(path: Path) -> Side:
    """A tuned program, with the scores of its run where that is still there. Raises CompileError, OSError."""
    saved = load_saved(path)
    folder = path.parent / str(saved.info.get("run") or "")
    score = saved.info.get("score_after")
    known = Side(str(path), saved.module, saved.assignment, score if isinstance(score, int | float) else None)
    if not saved.info.get("run") or not (folder / RUN_FILE).is_file():
        return known
    try:
        run = of_run(folder)
    except ReportError:
        return known
    if run.assignment != saved.assignment:
        return known  # the run went on, or another began there
    return Side(known.name, saved.module, saved.assignment, run.score, run.scores, run.data)


def gain(a: Side, b: Side) -> tuple[Interval, int] | None:
    """The paired gain of `b` over `a` and on how many rows, None unless both know their scores on the same rows."""
    if not a.data or a.data != b.data:
        return None
    pairs: list[tuple[Any, Any]] = [(x, y) for x, y in zip(a.scores, b.scores, strict=False) if None not in (x, y)]
    if not pairs:
        return None
    return paired_gain([x for x, _ in pairs], [y for _, y in pairs]), len(pairs)
