"""Pictures: golden text, well-formed XML, broken IR drawn, layouts without overlaps."""

from __future__ import annotations

import io
import itertools
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest

from lampc.ir import Module, check, parse_module
from lampc.runtime.pictures import FORMATS, Picture, draw, json_, picture
from lampc.runtime.pictures.layout import layout
from lampc.runtime.pictures.mermaid import CAP
from tests.pictures.modules import broken, triage, wide

FILES = Path(__file__).parent / "files"
COUNTS = {"sort": {"calls": 12, "prompt tokens": 480}, "reply#0": {"calls": 7}}


@pytest.mark.parametrize("format", ["dot", "mermaid", "json", "svg"])
def test_golden(format: str, golden: Callable[[Path, str], None]) -> None:
    golden(FILES / f"triage.{format}", draw(picture(triage(), counts=COUNTS), format))


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("module", [triage(), broken(), wide(3), Module("empty")], ids=lambda m: m.name)
def test_every_format_draws_every_module_the_same_each_time(module: Module, format: str) -> None:
    text = draw(picture(module), format)
    assert text == draw(picture(module.clone() if module.name != "broken" else module), format)
    if format in ("svg", "graphml"):
        ET.fromstring(text)


def test_unknown_format_names_the_known() -> None:
    with pytest.raises(ValueError, match="formats: dot, graphml, html, json, mermaid, svg"):
        draw(Picture("x"), "png")


def test_calls_carry_their_prompt_and_counts() -> None:
    made = picture(triage(), counts=COUNTS)
    sort, reply = (n for n in made.nodes if n.group == "model")
    details = dict(sort.details)
    assert "Sort the note." in details["Prompt"]
    assert "The lid <broke>" in details["Prompt"]
    assert "{text}" in details["Prompt"]
    assert details["Demos"] == "1"
    assert sort.counts == COUNTS["sort"]
    assert reply.counts == COUNTS["reply#0"]
    assert reply.note == "draft, facts -> answer at 0.7"


def test_edges_are_the_uses() -> None:
    made = picture(triage())
    names = {n.id: n.label for n in made.nodes}
    data = {(names[e.source], names[e.target]) for e in made.edges if e.kind == "data"}
    assert ("text", "sort") in data
    assert ("eq", "if") in data
    assert ("text", "retrieve @wiki") in data, "a captured value is an edge into the region"
    back = [(names[e.source], names[e.target]) for e in made.edges if e.kind == "control"]
    assert back == [("next", "draft")]


def test_json_round_trip() -> None:
    made = picture(triage(), counts=COUNTS, definitions=True)
    assert json_.read(json_.write(made)) == made
    assert json.loads(json_.write(made))["schema"] == "lampc.picture/1"
    with pytest.raises(ValueError, match="schema"):
        json_.read('{"schema": "other/9"}')


def test_graphml_reads_back() -> None:
    made = picture(triage(), counts=COUNTS)
    read = nx.read_graphml(io.BytesIO(draw(made, "graphml").encode()))
    assert read.number_of_nodes() == len(made.nodes)
    assert read.number_of_edges() == len(made.edges)
    assert read.nodes["n0"]["op"] == "prog.func"


def test_broken_ir_is_drawn_with_its_findings() -> None:
    made = picture(broken())
    problems = [p for n in made.nodes for p in n.problems] + made.findings
    assert any("not registered" in p for p in problems)
    assert any("nothing in the module defines" in p for p in problems)
    assert any(n.group == "broken" for n in made.nodes)


def test_boxes_do_not_overlap_and_stay_inside() -> None:
    for module in (triage(), wide(6)):
        made = picture(module)
        boxes = layout(made).boxes
        for kids in made.children().values():
            for a, b in itertools.combinations((boxes[k.id] for k in kids), 2):
                assert a.x + a.w <= b.x + 1e-6 or b.x + b.w <= a.x + 1e-6 or a.y + a.h <= b.y or b.y + b.h <= a.y
        for node in made.nodes:
            if node.parent:
                a, b = boxes[node.id], boxes[node.parent]
                assert b.x <= a.x
                assert b.y <= a.y
                assert a.x + a.w <= b.x + b.w + 1e-6
                assert a.y + a.h <= b.y + b.h + 1e-6


def test_large_graphs_are_drawn_closed_in_mermaid() -> None:
    text = draw(picture(wide(80)), "mermaid")
    assert len([line for line in text.splitlines() if "subgraph" in line]) == 1
    assert sum(line.lstrip().startswith("n") for line in text.splitlines()) < CAP * 4


def test_page_embeds_data_safely() -> None:
    module = Module("</script><script>alert(1)</script>")
    page = draw(picture(module), "html")
    assert "<script>alert" not in page
    assert page.count("</script>") == 1
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_modules_of_these_tests() -> None:
    check(triage())
    check(wide(2))
    assert str(parse_module(str(triage()))) == str(triage())
