"""Before and after of passes: every op of both sides is in the picture, with what became of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Module
from lampc.ir.rewrite import watched
from lampc.passes.manager import PassContext, Pipeline
from lampc.passes.table import STANDARD
from lampc.runtime.cli import main
from lampc.runtime.pictures import FORMATS, Picture, draw, json_
from lampc.runtime.pictures.compare import compare, union
from lampc.runtime.pictures.graph import CHANGES, FRESH, GONE, Node, PictureMaker, Step
from tests.fakes import TEMPLATES, FakeTarget
from tests.pictures.modules import broken, triage
from tests.strategies import programs

TWICE = '''signature Ask(note: str) -> (answer: str) {
  """Answer."""
}
module Part(note: str) -> (answer: str) {
  use ask = Predict(Ask);
  let found = ask(note: note);
  return (answer: found.answer);
}
module Main(note: str) -> (a: str, b: str) {
  use part = Part();
  use other = Predict(Ask);
  let first = other(note: note);
  let again = other(note: note);
  let unused = other(note: "nobody wants it");
  return (a: first.answer, b: again.answer);
}
'''


def fates(step: Step, op: str) -> list[str]:
    return sorted(n.change for n in step.picture.nodes if n.op == op and n.change)


def node(step: Step, id: str) -> Node:
    return next(n for n in step.picture.nodes if n.id == id)


def test_merged_and_removed_ops_stay_as_ghosts() -> None:
    steps = compare(compile_lmp(TWICE).module, Pipeline.parse("cse,dce"), ("cse", "dce"))
    cse, dce = steps
    (ghost,) = [n for n in cse.picture.nodes if n.op == "prog.predict" and n.change == "merged"]
    (kept,) = [node(cse, i) for i in ghost.into]
    assert kept.op == "prog.predict"
    assert kept.change == ""
    assert fates(dce, "prog.predict") == ["removed"]
    assert [n.label for n in dce.picture.nodes if n.change == "removed" and n.op == "prog.const"]
    assert cse.counters["merged"] == sum(n.change == "merged" for n in cse.picture.nodes)
    gone = [e for e in cse.picture.edges if e.change == "removed"]
    assert any(e.target == ghost.id for e in gone)


def test_lowering_says_what_stands_for_each_call() -> None:
    module = compile_lmp(TWICE).module
    ctx = PassContext(FakeTarget(TEMPLATES["llama"]))
    steps = {s.name: s for s in compare(module, Pipeline.parse(STANDARD), STANDARD.split(","), ctx)}
    replaced = [n for n in steps["lower-prompts"].picture.nodes if n.change == "replaced"]
    assert {n.op for n in replaced} == {"prog.predict"}
    assert all(node(steps["lower-prompts"], i).op == "prompt.parse" for n in replaced for i in n.into)
    assert set(fates(steps["lower-kv"], "prompt.request")) == {"replaced"}
    (whole,) = compare(compile_lmp(TWICE).module, Pipeline.parse(STANDARD), STANDARD.split(","), ctx, together=True)
    assert whole.name == STANDARD.replace(",", ", ")
    gone = [n for n in whole.picture.nodes if n.op == "prog.predict" and n.change in ("merged", "replaced")]
    ends = {node(whole, i).op for n in gone for i in n.into}
    assert ends == {"prompt.parse"}, "what was merged first is followed to what stands there at the end"


def same(picture: Picture, maker: PictureMaker, sides: frozenset[str]) -> None:
    """Without the nodes of `sides`, a comparison is the picture of one side: labels, nesting and edges."""
    names = {n.id: n.label for n in picture.nodes}
    left = [n for n in picture.nodes if n.change not in sides]
    assert sorted((n.op, n.kind, names.get(n.parent, "")) for n in left) == sorted(
        (n.op, n.kind, {m.id: m.label for m in maker.out.nodes}.get(n.parent, "")) for n in maker.out.nodes
    )
    side = "removed" if sides is GONE else "added"
    shown = [e for e in picture.edges if e.change != side]
    assert len(shown) == len(set(maker.out.edges))
    there = {n.id for n in left}
    assert all(e.source in there and e.target in there for e in shown), "no arrow of one side ends in the other"


def drawn(module: Module) -> PictureMaker:
    maker = PictureMaker(module, None, {}, True, None)
    maker.make()
    return maker


@settings(max_examples=40)
@given(programs(), st.sampled_from(["inline", "fold", "cse", "dce", "hoist", "inline,fold,cse,dce", "lower-prompts"]))
def test_each_side_is_whole(module: Module, passes: str) -> None:
    before = drawn(module.clone())
    (step,) = compare(module, Pipeline.parse(passes), passes.split(","), together=True, definitions=True)
    picture = step.picture
    same(picture, before, FRESH)
    same(picture, drawn(module), GONE)
    ids = [n.id for n in picture.nodes]
    assert len(set(ids)) == len(ids)
    assert all(n.change in ("", *CHANGES) and set(n.into) <= set(ids) for n in picture.nodes)
    assert json_.read(json_.write(picture)) == picture


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"html"}))
def test_every_format_tells_ghosts_from_others(format: str) -> None:
    (step,) = compare(compile_lmp(TWICE).module, Pipeline.parse("cse"), ("cse",))
    text = draw(step.picture, format)
    plain = draw(Picture(step.picture.name, [n for n in step.picture.nodes if n.change not in GONE]), format)
    mark = {"dot": "dashed", "svg": 'stroke-dasharray="5 4"', "mermaid": "classDef ghost", "json": '"merged"'}
    assert mark.get(format, "merged") in text
    assert mark.get(format, "merged") not in plain
    if format in ("svg", "graphml"):
        ET.fromstring(text)


def test_rewriters_tell_nobody_by_default() -> None:
    module = triage()
    with watched() as changes:
        pass
    Pipeline.parse("cse").run(module)
    assert changes == []


def test_broken_ir_has_a_picture_of_both_sides() -> None:
    a, b = drawn(broken()), drawn(broken())
    made = union(a, b, [])
    assert len(made.nodes) == len(a.out.nodes) + len(b.out.nodes)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "twice.lmp"
    program.write_text(TWICE, encoding="utf-8")
    page, svg = tmp_path / "passes.html", tmp_path / "passes.svg"
    assert main(["graph", str(program), "--before-after", "cse,dce", "-o", str(page)]) == 0
    assert '"name":"cse"' in page.read_text(encoding="utf-8")
    assert main(["graph", str(program), "--before-after", "cse", "-o", str(svg)]) == 0
    assert main(["graph", str(program), "--before-after", "hoist", "-o", str(svg)]) == 1
    assert "give your own with -p" in capsys.readouterr().err
    assert main(["graph", str(program), "--before-after", "all", "-p", "inline,hoist", "-o", str(page)]) == 0
