"""Two forms of a program through the gate on firefly; its record in the artefact, in `lampc explain` and in reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, CompileError
from lampc.passes import judge
from lampc.runtime.cli import main
from lampc.runtime.gating import Form, judge_forms
from lampc.runtime.metrics import build_metric
from lampc.runtime.reports import read_report, write_html
from lampc.runtime.saved import load_saved, save, with_gates
from lampc.runtime.session import Session
from lampc.runtime.types import Row

PROGRAM = """
signature Sort(text: str) -> (animal: "dog" | "cat") { "Name the animal." }
module Main(text: str) -> (animal: "dog" | "cat") {
  use sort = Predict(Sort);
  let out = sort(text: text);
  return (animal: out.animal);
}
"""
ROWS = [Row(str(i), {"text": f"the {a} saw car {i}"}, {"animal": a}) for i, a in enumerate(["dog", "cat"] * 12)]


def test_forms_that_do_not_differ_pass_and_calls_are_not_made_twice() -> None:
    unit = compile_lmp(PROGRAM)
    metric = build_metric("exact_match", unit, Path("."))
    with Session() as session:
        record, before, after = judge_forms(session, Form(unit), Form(unit), ROWS, metric, change="nothing")
        assert (record.rows, record.delta, record.accepted) == (24, 0.0, True)
        assert after.usage.stored_calls == after.usage.calls == before.usage.calls == 24
        other = Assignment().updated(**{"sort.layout": "json"})
        moved, _, changed = judge_forms(session, Form(unit), Form(unit, other), ROWS, metric, change="json")
        assert changed.usage.stored_calls == 0
        assert moved.delta == pytest.approx(sum(changed.scores) / 24 - sum(before.scores) / 24)


def test_cold_forms_find_nothing_of_earlier_runs() -> None:
    unit = compile_lmp(PROGRAM)
    metric = build_metric("exact_match", unit, Path("."))
    with Session() as session:
        whole = session.run(unit, ROWS)
        record, before, after = judge_forms(session, Form(unit), Form(unit), ROWS, metric, change="nothing", cold=True)
        assert record.delta == 0.0
        assert before.usage.stored_calls == after.usage.stored_calls == 0
        assert before.usage.computed_tokens == after.usage.computed_tokens == session.usage.computed_tokens > 0
        assert [o.value for o in session.run(unit, ROWS)] == [o.value for o in whole]
        assert session.usage.stored_calls == len(ROWS), "the session itself knows its calls still"


def test_the_record_is_kept_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit, path = compile_lmp(PROGRAM), tmp_path / "p.lampc"
    record = judge([1.0] * 30, [1.0] * 29 + [0.0], change="layout of sort")
    save(path, unit, Assignment(), with_gates({"score_before": 100.0, "score_after": 96.7}, [record]))
    assert load_saved(path).gates == (record,)
    assert main(["explain", str(path)]) == 0
    assert f"layout of sort G  {record}" in capsys.readouterr().out
    report = read_report(path)
    assert report.gates == (record,)
    assert f"<td>{record}</td>" in write_html(report)
    assert '"gates": [{"change": "layout of sort"' in report.json()

    save(path, unit, Assignment(), {"gates": [{"change": "x"}]})
    with pytest.raises(CompileError, match=r"a record of a gated change cannot be read: .* needs `rows` of type int"):
        _ = load_saved(path).gates
