"""The prefix tree of a run: widths and areas add up to what was counted, whatever is folded."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampc.backend import FakeEngine
from lampc.runtime.cli import main
from lampc.runtime.events import EventBus
from lampc.runtime.pictures.icicle import COLORS, NODES, boxes, parts, told, write_html, write_svg
from lampc.runtime.plan import prefix_bound
from lampc.runtime.prefix_record import PREFIXES_FILE, PrefixPicture, keep_prefixes, read_prefixes
from lampc.runtime.prefixes import PrefixCall, PrefixNode, fold, grow, name
from lampc.runtime.records import RecordError, Recording, read_record
from lampc.runtime.session import Session
from tests.pictures.scripted import record
from tests.runtime.loopback import Loopback
from tests.runtime.programs import CASES
from tests.runtime.test_execute import rows

COUNTS = ("visits", "computed", "reused", "again", "fewest", "ends")


@st.composite
def calls(draw: st.DrawFn) -> list[PrefixCall]:
    """Calls over few tokens, some of which go on from what others asked and wrote."""
    found: list[PrefixCall] = []
    tokens = st.lists(st.integers(0, 2), max_size=4).map(tuple)
    for i in range(draw(st.integers(0, 12))):
        prompt = (*draw(tokens), 7)
        if found and draw(st.booleans()):
            one = draw(st.sampled_from(found))
            prompt = (*one.prompt, *one.written[: draw(st.integers(0, 3))], *draw(tokens))
        cached = draw(st.integers(0, len(prompt) - 1))
        more = draw(st.sampled_from([0, 0, 0, 2]))  # after a preemption some are computed once more
        written = draw(tokens)
        found.append(
            PrefixCall(prompt, written, draw(st.sampled_from("ab")), str(i), len(prompt) - cached + more, cached)
        )
    return found


def sums(root: PrefixNode) -> list[int]:
    return [sum(getattr(n, count) for n in root.walk()) for count in COUNTS]


@given(calls(), st.integers(4, 12))
def test_widths_and_areas_add_up(made: list[PrefixCall], most: int) -> None:
    root = grow(made)
    nodes = list(root.walk())
    bound = prefix_bound([c.prompt for c in made], [c.written for c in made])  # type: ignore[misc]
    assert sum(n.fewest for n in nodes) == bound
    assert root.calls == len(made)
    assert sum(n.computed + n.again for n in nodes) == sum(c.computed for c in made)
    assert sum(n.reused for n in nodes) == sum(c.cached for c in made)
    assert sum(n.visits for n in nodes) == sum(len(c.prompt) for c in made)
    for node in nodes:
        assert node.calls == node.ends + sum(c.calls for c in node.children)
        assert node.visits == node.calls * (node.end - node.begin) == node.computed + node.reused
        assert node.nodes.total() == node.calls
    before = sums(root)
    fold(root, most)
    assert sums(root) == before
    assert len(list(root.walk())) <= max(most, 3)
    for node in root.walk():
        if not node.folded:
            assert node.calls == node.ends + sum(c.calls for c in node.children)
    placed = {id(node): (x, y, w, h) for node, x, y, w, h in boxes(root)}
    assert sum(w * h for _, _, w, h in placed.values()) == pytest.approx(sum(len(c.prompt) for c in made))
    for node in root.walk():
        x, y, w, h = placed[id(node)]
        at = x
        for child in node.children:
            cx, cy, cw, _ = placed[id(child)]
            assert (cx, cy) == (at, pytest.approx(y + h)), "children stand side by side under their parent"
            at += cw
        assert at <= x + w, "and not beyond it"
        assert sum(parts(node).values()) == pytest.approx(1.0) or not node.visits


@pytest.mark.parametrize("n", [1, 30])
def test_areas_are_what_the_engine_counted(n: int, tmp_path: Path) -> None:
    engine = record(tmp_path, n, max_running=4, kv_tokens=2048)
    stats = engine.stats()
    (tree,), complete = read_prefixes(tmp_path)
    assert complete
    nodes = list(tree.root.walk())
    assert sum(x.computed + x.again for x in nodes) == stats.computed_tokens
    assert sum(x.reused for x in nodes) == stats.cached_tokens
    assert sum(x.visits for x in nodes) == stats.prompt_tokens
    assert sum(x.fewest for x in nodes) == read_record(tmp_path).bound
    assert f"{stats.requests:,} calls" in told(tree)
    texts = "".join(x.text for x in nodes)
    assert "Write down what the note says." in texts
    assert "<|" in texts, "special tokens are shown"
    assert set(nodes[0].nodes) == {"find", "judge"}


def test_prompts_of_an_endpoint_are_told_in_characters(tmp_path: Path) -> None:
    program, inputs = CASES["call"]
    with Loopback(FakeEngine()) as server:
        bus = EventBus()
        with Session(model=server.url, bus=bus) as session, Recording(tmp_path, "far", bus, details=True):
            session.run(program, rows(inputs))
            calls = session.usage.calls - session.usage.stored_calls
            assert keep_prefixes(tmp_path, session.desk) is not None
    (tree,), _ = read_prefixes(tmp_path)
    assert tree.unit == "characters"
    assert tree.root.calls == calls
    assert "system\n" in "".join(n.text for n in tree.root.walk())


def large(n: int) -> PrefixPicture:
    calls = [
        PrefixCall((*range(300), i % 50, *range(200), i, *range(100)), (), "ask", str(i), 101, 501) for i in range(n)
    ]
    root = grow(calls)
    name(root, str, 1 << 22)
    return PrefixPicture("main", "tokens", root)


def test_pages_of_large_runs_are_bounded_and_soon_made() -> None:
    begun = time.process_time()
    tree = large(5000)
    page = write_html("large", [tree], True)
    assert time.process_time() - begun < 10
    assert len(page) < 2_500_000
    data = json.loads(page[page.index("const DATA = ") + 13 : page.index("};\n") + 1])
    shown = data["trees"][0]["nodes"]
    assert 100 < len(shown) <= NODES
    assert shown[0]["calls"] == 5000
    assert sum(n.get("visits", 0) for n in shown) == 5000 * 602
    assert page == write_html("large", [large(5000)], True), "the same every time"
    assert len(write_svg("large", [large(5000)], True)) < 2_000_000


def test_svg_is_well_formed_and_has_all_colours(tmp_path: Path) -> None:
    record(tmp_path, 8, max_running=2)
    trees, complete = read_prefixes(tmp_path)
    text = write_svg("run <1>", trees, complete)
    ET.fromstring(text)
    assert all(color in text for color in COLORS.values())


def test_texts_of_prompts_are_only_text_on_the_page() -> None:
    bad = "</script><script>alert(1)</script><!-- \u2028 \ud800 &amp;"
    root = grow([PrefixCall(bad, "", bad, bad, 10, 2)])
    name(root, str, 1 << 20)
    trees = [PrefixPicture(bad, "characters", root)]
    page = write_html(bad, trees, True)
    assert page.count("<script>") == page.count("</script>") == 1
    assert "<!--" not in page[page.index("const DATA") :]
    page.encode("utf-8")
    ET.fromstring(write_svg(bad, trees, False))


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="--record"):
        read_prefixes(tmp_path)
    for wrong in (
        "[",
        "[]",
        '{"schema": "lampc.prefixes/1", "complete": true, "trees": [{"model": "m", "unit": "t"}]}',
    ):
        (tmp_path / PREFIXES_FILE).write_text(wrong)
        with pytest.raises(RecordError, match=r"prefixes\.json"):
            read_prefixes(tmp_path)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "run", 3)
    out = tmp_path / "out" / "prefixes.html"
    assert main(["graph", str(tmp_path / "run"), "-o", str(out)]) == 0
    assert "run: shared prefixes" in out.read_text(encoding="utf-8")
    assert main(["graph", str(tmp_path / "run"), "--to", "svg"]) == 0
    assert "<svg" in capsys.readouterr().out
    assert main(["graph", str(tmp_path / "run"), "--to", "dot"]) == 1
    assert "html or svg" in capsys.readouterr().err
    assert main(["graph", str(tmp_path), "--to", "html"]) == 1
    assert "lampc run FILE --record" in capsys.readouterr().err
