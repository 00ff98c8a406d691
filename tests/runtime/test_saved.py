"""Tuned programs as files, differences between candidates, and figures of a report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lampc.ir import Assignment, CompileError, Demo, DemoSet, Module, Obj, Unit, parse_module
from lampc.runtime.report import DemoReport, bootstrap_interval, paired_interval
from lampc.runtime.reports.changes import compare
from lampc.runtime.reports.told import changes_text
from lampc.runtime.saved import applied, ir_diff, load, load_saved, save
from lampc.runtime.session import Session
from tests.runtime.programs import module
from tests.runtime.tuning import DEV, engine, unit

TUNED = Assignment().updated(
    **{
        "p.instruction": "Reverse\nthe word.",
        "p.demos": DemoSet((Demo(Obj({"text": 'a "b"', "label": "é"}), True), Demo(Obj({"text": "x", "label": "y"})))),
    }
)


def test_what_is_saved_is_read_back_and_runs_the_same(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tuned.lampc"
    save(path, unit(), TUNED, {"dev": 87.5, "steps": ["bootstrap"]})
    text = path.read_text(encoding="utf-8")
    assert "Reverse\\nthe word." in text
    assert "é" in text
    saved = load_saved(path)
    assert saved.assignment == TUNED
    assert saved.module == unit().module
    assert saved.entry == "main"
    assert saved.info == {"dev": 87.5, "steps": ["bootstrap"]}
    assert load(path) == (saved.module, TUNED)
    with Session(model=engine()) as session:
        before = session.run(unit(), DEV, assignment=TUNED)
        after = session.run(saved.module, DEV, assignment=saved.assignment)
    assert [o.value for o in before] == [o.value for o in after]
    save(path, Unit(saved.module, saved.entry), saved.assignment, saved.info)
    assert path.read_text(encoding="utf-8") == text


def test_only_what_the_program_needs_is_kept_and_the_entry_stands_last() -> None:
    made = parse_module(
        """module @main {
          prog.func @main() {returns = !{a: int}} do (%n: int) {
            %m = prog.call(%n) {callee = @helper, key = #key<path = ["helper#0"]>, returns = !int} : (int)
            %r = prog.pack(%m) {names = ["a"]} : ({a: int})
            prog.return(%r) : ()
          } : ()
          prog.func @helper() {returns = !int} do (%n: int) { prog.return(%n) : () } : ()
          prog.func @metric() {returns = !float} do (%gold: float, %pred: float) { prog.return(%gold) : () } : ()
        }"""
    )
    from lampc.runtime.saved import saved_text

    kept = parse_module(saved_text(Unit(made, "main"), Assignment()))
    assert [op.symbol for op in kept.body.ops] == ["helper", "main"]
    assert [op.symbol for op in made.body.ops] == ["main", "helper", "metric"]


def test_a_closure_cannot_be_saved(tmp_path: Path) -> None:
    made = module(
        """%a = prog.py(%text) {ref = #host<target = "m:f.<locals>.g">, returns = !str} : (str)
           %r = prog.pack(%a) {names = ["label"]} : ({label: str})
           prog.return(%r) : ()"""
    )
    with pytest.raises(CompileError, match=r"`m:f.<locals>.g` is a closure: the program cannot be saved"):
        save(tmp_path / "x.lampc", Unit(made, "main"), Assignment())
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_tuned_program(tmp_path: Path) -> None:
    (tmp_path / "x.lampc").write_text(str(unit().module))
    with pytest.raises(CompileError, match="no chosen parameters"):
        load(tmp_path / "x.lampc")
    (tmp_path / "x.lampc").write_text("module @x {")
    with pytest.raises(CompileError, match=r"x\.lampc"):
        load(tmp_path / "x.lampc")


def diff(module: Module, before: Assignment, after: Assignment) -> str:
    return changes_text(compare(module, before, after))


def test_differences_show_texts_and_demos() -> None:
    program = unit().module
    assert diff(program, Assignment(), Assignment()) == ""
    assert diff(program, Assignment(), TUNED).splitlines() == [
        "p.instruction",
        "  [-Do it-]{+Reverse",
        "  the word+}.",
        "p.demos: 0 -> 2",
        "  + text: 'a \"b\"', label: 'é'  (from a run)",
        "  + text: 'x', label: 'y'",
    ]
    back = diff(program, TUNED, Assignment())
    assert "p.demos: 2 -> 0" in back
    assert "  - text: 'x', label: 'y'" in back
    other = Assignment().updated(**{"p.layout": "chat", "k": 3})
    assert diff(program, Assignment(), other) == "p.layout: compact -> chat\nk: null -> 3"
    shown = ir_diff(program, Assignment(), TUNED)
    assert shown.startswith("--- before\n+++ after\n-  prog.def_predictor @p()")
    assert "+  prog.def_predictor @p() {demos = #demos<" in shown


def test_an_applied_candidate_is_a_module_that_starts_there() -> None:
    with Session(model=engine()) as session:
        wanted = session.run(unit(), DEV, assignment=TUNED)
        assert [o.value for o in session.run(applied(unit().module, TUNED), DEV)] == [o.value for o in wanted]


# -- figures ---------------------------------------------------------------------------------------------


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    report = DemoReport(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7, 1000, 250, 249, 1.5, 900, 2.5, 200, 0.5)
    report.write(tmp_path / "out" / "report.json")
    read = json.loads((tmp_path / "out" / "report.json").read_text())
    assert read["prompt_tokens_computed"] == 250
    assert set(read) >= {"dev_before", "test_random_demos", "calls", "prompt_tokens_bound", "seconds_naive"}
    assert report.reused == 0.75
    resumed = replace(report, prompt_tokens_stored=500)
    assert (resumed.prompt_tokens_reused, resumed.reused) == (250, 0.5)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.json"]


def test_intervals() -> None:
    assert str(bootstrap_interval([5.0] * 4)) == "5.0 [5.0, 5.0]"
    wide = bootstrap_interval([0.0, 10.0] * 20)
    assert wide.mean == 5.0
    assert 2.5 < wide.low < 5.0 < wide.high < 7.5
    gain = paired_interval([[0.0, 1.0, 0.0, 0.0]] * 5, [[1.0, 1.0, 0.0, 1.0]] * 5)
    assert gain.mean == 0.5
    assert 0.0 <= gain.low < 0.5 < gain.high <= 1.0
    assert paired_interval([[0.2, 0.4]], [[0.3, 0.5]]).low == pytest.approx(0.1)
    zero = [[0.0] * 40] * 4
    apart = paired_interval(zero, [[0.0] * 40, [0.0] * 40, [1.0] * 40, [1.0] * 40])
    assert (apart.low, apart.high) == (0.0, 1.0), "seeds that differ are drawn anew, too"
    rows = paired_interval(zero, [[0.0, 1.0] * 20] * 4)
    assert 0.5 - rows.low == pytest.approx(1.96 * 0.5 / 160**0.5, rel=0.15), "as wide as 160 rows make it"
    with pytest.raises(ValueError, match="the same rows"):
        paired_interval([[1.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([])
