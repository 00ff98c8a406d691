"""Trials out of `run.json`: evidence of candidates that are scored in parts, what they were made from, what was cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lampc.runtime.journal import UNFINISHED, Journal
from lampc.runtime.reports.data import Report
from lampc.runtime.reports.read import judge
from lampc.runtime.reports.trials import trials_of_run
from lampc.runtime.store import Store


def record(candidate: str, rows: list[int], cells: str, scores: list[float], **more: Any) -> dict[str, Any]:
    return {"step": "joint", "kind": "evaluate", "candidate": candidate, "split": "dev", "rows": rows, "cells": cells,
            "scores": scores, "errors": 0, "tokens": 10 * len(rows), "seconds": 1.0, **more}  # fmt: skip


def tried(candidate: str, note: str, parents: tuple[int, ...] = (), step: str = "joint") -> dict[str, Any]:
    return {"candidate": candidate, "step": step, "note": note, "score": None, "assignment": f"#{candidate}",
            "parents": list(parents)}  # fmt: skip


RUN: dict[str, Any] = {
    "candidate": "s",
    "assignment": "#b",
    "history": [tried("s", "as found", step="start"), tried("a", "first"), tried("b", "second", (0,))],
    "trials": [
        record("s", [0, 1, 2, 3], "cccc", [0.0, 0.0, 1.0, 0.0], step="start"),
        record("", [0, 0, 1], "ccr", [1.0, 0.0, 1.0], kind="run", split="train"),
        record("a", [0, 1, 2, 3], "cccc", [1.0, 0.0, 1.0, 0.0]),
        record("b", [3, 1], "cc", [1.0, 1.0]),
        record("b", [0, 2], "cc", [0.0, 1.0]),
        record("b", [0, 1, 2, 3], "rrrr", [0.0, 1.0, 1.0, 1.0]),
        record("c", [0, 1, 2, 3], "ccxx", []),
        record("d", [2], "c", [0.0]),
        record("d", [0, 1, 3], "xxx", []),
    ],
}


def test_evidence_of_a_candidate_grows() -> None:
    trials = trials_of_run(RUN)
    assert [(t.score, t.rows, t.whole) for t in trials] == [
        (25.0, 4, True), (None, 3, False), (50.0, 4, True), (100.0, 2, False), (75.0, 4, True), (75.0, 4, True),
        (None, 4, False), (0.0, 1, False),
    ]  # fmt: skip
    assert [t.states for t in trials] == ["cccc", "", "cccc", ".c.c", "c.c.", "rrrr", "ccxx", "xxcx"]
    assert trials[3].scores == (None, 1.0, None, 1.0)
    assert trials[4].scores == (0.0, 1.0, 1.0, 1.0)
    assert [t.spent.runs for t in trials if t.spent] == [4, 6, 10, 12, 14, 14, 16, 17]
    assert trials[4].tokens == 10


def test_roles_notes_and_parents() -> None:
    trials = trials_of_run(RUN)
    assert [t.role for t in trials] == ["start", "", "", "", "result", "", "", ""]
    assert [t.note for t in trials] == ["the program as found", "", "first", "second", "second", "second", "", ""]
    assert trials[4].parents == (2,)
    assert trials[1].kind == "run"


def test_gains_are_paired_on_the_rows_that_both_know() -> None:
    report = Report("r", trials=trials_of_run(RUN))
    judge(report)
    gains = [None if t.gain is None else t.gain.mean for t in report.trials]
    assert gains == [None, None, 25.0, 100.0, 50.0, 50.0, None, -100.0]
    assert report.gain is report.trials[4].gain
    assert report.front == (4,)


def test_records_without_trials_show_what_was_tried() -> None:
    history = [{"step": s, "note": "", "score": v, "assignment": a, "rows": n}
               for s, v, a, n in [("start", 10.0, "#s", 0), ("x", 40.0, "#a", 4), ("x", 90.0, "#b", 2)]]  # fmt: skip
    trials = trials_of_run({"history": history, "assignment": "#a"})
    assert [(t.role, t.whole) for t in trials] == [("start", True), ("result", True), ("", False)]
    assert trials_of_run({}) == []


def test_run_files_are_json_with_a_trial_a_line(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    with Store(None) as store:
        journal = Journal(store, "work", {"program": "P"}, file)
        assert journal.due()
        journal.note(UNFINISHED, trials=RUN["trials"], history=RUN["history"])
        assert not journal.due(), "not again at once"
        text = file.read_text(encoding="utf-8")
        assert json.loads(text)["trials"] == RUN["trials"]
        assert sum('"cells"' in line for line in text.splitlines()) == len(RUN["trials"])
        journal.note(UNFINISHED, trials=[])
        assert file.read_text(encoding="utf-8") == text
        journal.finish(history=[])
    assert json.loads(file.read_text(encoding="utf-8"))["state"] == "finished"
