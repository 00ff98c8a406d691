"""Parsing: recovery behind errors, spans, and speed."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from lampc.frontend.lmp import ast, compile_lmp
from lampc.frontend.lmp.parser import grammar, parse
from lampc.frontend.lmp.report import Reporter
from lampc.ir import CompileError
from tests.lmp.samples import EVERYTHING


def parsed(text: str) -> tuple[ast.File, list[str]]:
    report = Reporter()
    file = parse(text, "x.lmp", report)
    return file, [d.line() for d in report.ordered()]


def test_items_and_spans() -> None:
    file, found = parsed("type A = str;  type B = A;\n\n  model m = engine(\n 'x');\n".replace("'", '"'))
    assert not found
    spans = [(i.span.line, i.span.column, i.span.end_line, i.span.end_column) for i in file.items]
    assert spans == [(1, 1, 1, 14), (1, 16, 1, 27), (3, 3, 4, 7)]


def test_everything_parses() -> None:
    file, found = parsed(EVERYTHING)
    assert not found
    assert {type(i) for i in file.items} == {
        ast.ModelDecl, ast.RetrieverDecl, ast.TypeDecl, ast.ToolDecl, ast.SignatureDecl, ast.ModuleDecl,
        ast.DatasetDecl, ast.MetricDecl, ast.OptimizeDecl, ast.TestDecl,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "errors"),
    [
        ("let y = ;", 1),
        ("let y = 3", 1),
        ("y = 3;", 1),
        ("let y = (1 + ;", 1),
        ("let y = [1, 2;", 1),
        ("let y = f(x;", 1),
        ('let y = "open;', 1),
        ("let y = if x { yield 1; };", 1),
        ("lett y = 3;", 1),
        ("if x { let y = ; }", 1),
        ("let y = $;", 1),
        ("let y = ; let z = ;", 2),
        ("loop (n: 1) { next (n: 2) until true; }", 1),
        ("match x { 1 -> 2; }", 1),
    ],
)
def test_the_rest_of_a_broken_module_is_read(broken: str, errors: int) -> None:
    text = f"module A(x: str) -> (y: str) {{\n  let before = 1;\n  {broken}\n  return (y: x);\n}}\ntype After = str;\n"
    file, found = parsed(text)
    assert len(found) == errors, found
    assert isinstance(file.items[-1], ast.TypeDecl)
    module = file.items[0]
    assert isinstance(module, ast.ModuleDecl)
    assert isinstance(module.body[0], ast.Let)
    assert isinstance(module.body[-1], ast.Return)


def test_line_ends_and_byte_order_marks_of_other_systems() -> None:
    text = "\ufeff" + EVERYTHING.replace("\n", "\r\n")
    assert compile_lmp(text).module == compile_lmp(EVERYTHING).module


def test_names_of_broken_statements_are_not_reported() -> None:
    text = "module A(x: str) -> (y: str) {\n  let lost = x + ;\n  return (y: lost);\n}\n"
    with pytest.raises(CompileError) as e:
        compile_lmp(text)
    assert [d.code for d in e.value.diagnostics] == ["L0101"]


@pytest.mark.parametrize(
    "text", ["}", "{", ")", '"', '"""', "@", "module", "module A(", "\x00", "type A = ;" * 30, "é"]
)
def test_nonsense_gives_diagnostics(text: str) -> None:
    with pytest.raises(CompileError):
        compile_lmp(text)


def test_words_of_the_language_may_be_names() -> None:
    text = (
        'signature field(type: str, model: str) -> (max: str, index: int) { field type "the type"; }\n'
        "module test(demo: str, next: str) -> (use: str) {\n  use let = Predict(field);\n"
        "  let run = let(type: demo, model: next);\n  return (use: run.max);\n}\n"
    )
    assert compile_lmp(text).entry == "test"


def test_no_conflicts_in_the_grammar(caplog: pytest.LogCaptureFixture) -> None:
    from importlib.resources import files

    from lark import Lark, logger

    text = files("lampc.frontend.lmp").joinpath("lmp.lark").read_text(encoding="utf-8")
    logger.addHandler(caplog.handler)
    before = logger.level
    logger.setLevel("DEBUG")
    try:
        Lark(text, parser="lalr", debug=True)
    finally:
        logger.setLevel(before)
        logger.removeHandler(caplog.handler)
    assert [r.getMessage() for r in caplog.records if "onflict" in r.getMessage()] == []


def test_a_thousand_lines_in_under_a_second() -> None:
    module = EVERYTHING.split("module MultiHop")[1].split("\ndataset")[0]
    head = EVERYTHING.split("module MultiHop")[0]
    text = head + "".join(f"module M{i}{module}\n" for i in range(28))
    assert text.count("\n") >= 1000
    grammar()
    times = []
    for _ in range(3):
        start = time.process_time()
        compile_lmp(text)
        times.append(time.process_time() - start)
    assert min(times) < 1.0


def test_lark_is_loaded_late() -> None:
    code = "import sys, lampc.frontend.lmp; print('lampc.frontend.lmp.parser' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=_environment()).strip() == "False"


def _environment() -> dict[str, str]:
    import os
    from pathlib import Path

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
