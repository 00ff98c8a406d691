"""From what a run left behind to its report: a run's folder, its `run.json`, or a tuned program (`.lampc`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lampc.ir import Assignment, CompileError
from lampc.passes.gate import read_record as read_gate
from lampc.runtime.journal import FOUND_FILE, read_assignment
from lampc.runtime.records import RECORD_FILE, RecordError, RunRecord, read_record
from lampc.runtime.reports.changes import Changes, compare
from lampc.runtime.reports.data import Cost, Report, front
from lampc.runtime.reports.intervals import paired_gain, row_interval
from lampc.runtime.reports.trials import trials_of_run
from lampc.runtime.reports.unseen import read_unseen
from lampc.runtime.saved import load_saved

RUN_FILE = "run.json"


class ReportError(Exception):
    """There is nothing to report on; the message says what was looked for and where."""


def read_report(path: Path) -> Report:
    """The report on a run. Raises ReportError, CompileError for a damaged program, OSError."""
    return _of_program(path) if path.suffix == ".lampc" else _of_run(*read_run(path))


def read_run(path: Path) -> tuple[dict[str, Any], Path]:
    """What `run.json` holds (given as such, or by its folder), and the folder. Raises ReportError."""
    file = path / RUN_FILE if path.is_dir() else path
    if not file.is_file():
        raise ReportError(f"{file}: no such file; `lampc optimize` writes it into the run's folder")
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as e:
        raise ReportError(f"{file}: cannot be read as JSON: {e}") from None
    if not isinstance(run, dict) or "state" not in run or "run" not in run:
        raise ReportError(f"{file}: this is not the record of an optimisation")
    return run, file.parent


def _of_program(path: Path) -> Report:
    """Of a tuned program: of the run that it names, if that is there, else what the file itself says."""
    saved = load_saved(path)
    named = str(saved.info.get("run", ""))
    if named and (path.parent / named / RUN_FILE).is_file():
        report = read_report(path.parent / named)
        report.gates = saved.gates
        return report
    report = Report(path.name, saved.entry, "finished", gates=saved.gates)
    report.before, report.after = saved.info.get("score_before"), saved.info.get("score_after")
    report.cost.runs = int(saved.info.get("runs") or 0)
    report.changes = compare(saved.module, Assignment(), saved.assignment)
    return report


def _of_run(run: Mapping[str, Any], folder: Path) -> Report:
    record = _record(folder)
    report = Report(
        folder.resolve().name,
        str(run.get("program") or ""),
        str(run["state"]),
        str(run.get("stopped") or ""),
        tuple(str(s).partition(":")[0] for s in run.get("steps", ())),
        str(run.get("metric") or ""),
        record.model or "firefly" if record else "",
        int(run.get("seed", 0)),
        run.get("started"),
    )
    report.before, report.after = run.get("score_before"), run.get("score_after")
    report.trials = trials_of_run(run)
    report.rows = max((t.rows for t in report.trials if t.score is not None), default=0)
    judge(report)
    report.changes = _changes(run, folder)
    report.cost = _cost(run, record)
    found = (h.get("facts", {}).get("gate") for h in run.get("history", ()))
    report.gates = tuple(read_gate(values) for values in found if values)
    report.errors, report.failures = int(run.get("errors", 0)), tuple(run.get("failures", ()))
    report.unseen = read_unseen(folder, run)
    return report


def _record(folder: Path) -> RunRecord | None:
    try:
        return read_record(folder) if (folder / RECORD_FILE).is_file() else None
    except RecordError:
        return None


def judge(report: Report) -> None:
    """Intervals of all trials whose scores by row are known, the gains over the start, and the front."""
    start = report.trial("start")
    for t in report.trials:
        known = [s for s in t.scores if s is not None]
        if not known:
            continue
        t.interval = row_interval(known)
        if start is not None and t is not start and start.scores:
            pairs = [(a, b) for a, b in zip(start.scores, t.scores, strict=False) if a is not None and b is not None]
            t.gain = paired_gain([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None
    result = report.trial("result")
    report.before_interval = start.interval if start else None
    report.after_interval = result.interval if result else report.before_interval
    report.gain = result.gain if result else None
    report.front = front(report.trials)


def _changes(run: Mapping[str, Any], folder: Path) -> Changes | None:
    found = folder / FOUND_FILE
    text = run.get("assignment")
    if not found.is_file() or not isinstance(text, str):
        return None
    try:
        saved = load_saved(found)
        return compare(saved.module, saved.assignment, read_assignment(text))
    except CompileError as e:
        raise ReportError(f"{found}: cannot be read: {e}") from None


def _cost(run: Mapping[str, Any], record: RunRecord | None) -> Cost:
    usage: Mapping[str, Any] = run.get("usage", {})
    counts = ("calls", "prompt_tokens", "computed_tokens", "cached_tokens", "stored_tokens", "generated_tokens")
    calls, prompt, computed, cached, stored, generated = (int(usage.get(name, 0)) for name in counts)
    cost = Cost(int(run.get("runs", 0)), calls, prompt, computed, cached, stored, generated)
    cost.seconds = float(run.get("seconds") or usage.get("seconds") or 0.0)
    cost.money = usage.get("cost") or None
    if record is not None:
        cost.nodes = {n: {name: getattr(u, name) for name in counts} for n, u in record.nodes.items()}
    return cost
