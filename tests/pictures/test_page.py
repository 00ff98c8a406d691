"""The pages in a real browser, offline, from a file, used as a reader would: no error, no request, nothing blank."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Module
from lampc.passes.manager import Pipeline
from lampc.runtime.pictures import draw, picture
from lampc.runtime.pictures.compare import compare
from lampc.runtime.pictures.icicle import NODES, write_html
from lampc.runtime.pictures.page import write_steps
from lampc.runtime.prefix_record import PrefixPicture, read_prefixes
from lampc.runtime.prefixes import PrefixCall, grow, name
from tests.pictures.browser import Browser, Page, chromium_of, colors
from tests.pictures.modules import broken, chain, triage, wide
from tests.pictures.scripted import record

pytestmark = pytest.mark.browser
Open = Callable[[str], Page]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium_of(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def open_page(chromium: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open the text of a page; at the end nothing went wrong on it, and it was not blank."""
    opened: list[Page] = []

    def open_(text: str) -> Page:
        path = tmp_path / f"page{len(opened)}.html"
        path.write_text(text, encoding="utf-8")
        opened.append(chromium.open(path))
        return opened[-1]

    yield open_
    for page in opened:
        assert page.errors == []
        assert page.requests == []
        assert colors(page.screenshot()) > 8, "the page is blank"


def graph_page(module: Module) -> str:
    return draw(picture(module, counts={"sort": {"calls": 12}}), "html")


def count(page: Page, selector: str) -> int:
    found: int = page.js(f"document.querySelectorAll({selector!r}).length")
    return found


OVERLAPS = """(() => {
  const open = n => n.container && !closed.has(n.id);
  const boxes = [...placed.boxes].filter(([id]) => id !== "" && !open(nodes.get(id))).map(([, b]) => b);
  return boxes.reduce((sum, a, i) => sum + boxes.slice(i + 1).filter(b =>
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h).length, 0);
})()"""


def test_graph_is_used_like_a_reader_would(open_page: Open) -> None:
    page = open_page(graph_page(triage()))
    total = len(picture(triage()).nodes)
    assert count(page, ".node") == total
    assert page.js(OVERLAPS) == 0
    sort = page.js('[...nodes.values()].find(n => n.group === "model").id')
    page.click(f'[data-id="{sort}"]')
    panel = page.panel()
    assert "Sort the note." in panel, "a click shows the prompt"
    assert "calls\t12" in panel, "a click shows the counts"
    assert "choice" in panel, "a click shows the types"
    assert count(page, ".node.chosen") == 1
    before = page.js("view.k")
    page.wheel(300, 300, -300)
    assert page.js("view.k") > before
    x = page.js("view.x")
    page.drag(20, 400, 60, 0)
    assert page.js("view.x") == pytest.approx(x + 60)
    page.click("#fit")
    page.click(".toggle")
    assert count(page, ".node") < total
    page.click(".toggle")
    assert count(page, ".node") == total
    page.key("/", "/")
    page.type("sort")
    assert "found" in page.js('document.getElementById("found").textContent')
    assert count(page, ".node.hit") >= 1
    page.key("Enter")
    assert page.js("chosen") is not None


@pytest.mark.parametrize("module", [broken(), wide(60)], ids=lambda m: m.name)
def test_broken_and_nested_programs_are_drawn(open_page: Open, module: Module) -> None:
    page = open_page(graph_page(module))
    assert count(page, ".node") == len(picture(module).nodes) or count(page, ".node") < 400
    assert page.js(OVERLAPS) == 0


def test_five_thousand_nodes_in_one_function(open_page: Open) -> None:
    module = chain(5000)
    text = graph_page(module)
    assert len(text) < 8_000_000
    page = open_page(text)
    assert 10 < count(page, ".node") < 400, "what is too small to be seen is closed"
    assert page.js("picture.nodes.length") >= 5000
    page.click("#search")
    page.type("step 2321 ")
    page.key("Enter")
    assert "step 2321 " in page.panel(), "what is closed is found and opened"
    assert count(page, ".node.chosen") == 1


TWICE = """signature Ask(note: str) -> (answer: str) {
  \"\"\"Answer.\"\"\"
}
module Main(note: str) -> (a: str, b: str) {
  use ask = Predict(Ask);
  let first = ask(note: note);
  let again = ask(note: note);
  let unused = ask(note: "nobody wants it");
  return (a: first.answer, b: again.answer);
}
"""


def test_passes_are_gone_through_with_ghosts(open_page: Open) -> None:
    module = compile_lmp(TWICE).module
    steps = compare(module, Pipeline.parse("inline,cse,dce"), ("inline", "cse", "dce"))
    page = open_page(write_steps("twice", steps))
    assert page.js("STEPS[now].name") == "cse", "the first pass that did something"
    assert count(page, ".node.ghost") >= 1
    assert count(page, ".into") >= 1
    both = count(page, ".node")
    page.click('[data-mode="after"]')
    after = count(page, ".node")
    assert after < both
    assert count(page, ".ghost") == 0
    page.click('[data-mode="before"]')
    assert count(page, ".node") == both, "nothing is new here, so before is both without the ghosts' look"
    page.click('[data-mode="both"]')
    page.click(".node.ghost")
    assert "merged into an equal one: ask" in page.panel()
    page.click("#slide")  # its middle, then one on by the keyboard
    page.key("ArrowRight")
    page.js('slide = document.getElementById("slide"); slide.value = 2; slide.dispatchEvent(new Event("input"))')
    assert page.js("STEPS[now].name") == "dce"
    assert "removed" in page.panel()
    assert count(page, ".node.ghost") >= 1
    page.click(".node.ghost")
    assert "removed" in page.panel()


def test_icicle_shows_what_was_computed_and_reused(open_page: Open, tmp_path: Path) -> None:
    engine = record(tmp_path / "run", 12, max_running=4)
    trees, complete = read_prefixes(tmp_path / "run")
    page = open_page(write_html("run", trees, complete))
    stats = engine.stats()
    panel = page.panel()
    assert f"computed\t{stats.computed_tokens:,}" in panel
    assert f"reused\t{stats.cached_tokens:,} (" in panel
    assert count(page, "rect.once") >= 1
    assert count(page, "rect.reused") >= 1
    page.click(".node")
    assert "calls\t24" in page.panel()
    assert "Predictors" in page.panel() or "PREDICTORS" in page.panel()
    page.click("#search")
    page.type("cup 7")
    assert count(page, ".node.hit") >= 1
    page.key("Enter")
    assert page.panel().startswith("7"), "what was looked for ends in this box,"
    assert "about cup" in page.panel(), "and begins in the one above it"
    wide = page.js("view.kx")
    page.click("#fit")
    assert page.js("view.kx") < wide, "what was found had filled the page"
    page.wheel(200, 300, -400)
    page.drag(200, 300, 50, 20)
    page.click(".node", count=2)
    assert count(page, ".node.chosen") == 1


def many(n: int) -> PrefixPicture:
    """The tree of `n` calls: half of their texts in common, a tenth each among a tenth of them, the rest their own."""
    calls = [
        PrefixCall(f"{'head ' * 80}{i % 97:03} {'doc ' * 60}{i} {'own ' * 20}", "", "ask", str(i), 100, 665)
        for i in range(n)
    ]
    root = grow(calls)
    name(root, str, 1 << 22)
    return PrefixPicture("main", "characters", root)


@pytest.mark.parametrize("n", [10, 5000])
def test_icicle_of_few_and_many_calls(open_page: Open, n: int) -> None:
    tree = many(n)
    nodes = len(list(tree.root.walk()))
    text = write_html("many", [tree], True)
    assert len(text) < 2_500_000
    page = open_page(text)
    assert f"calls\t{n:,}" in page.panel()
    drawn = count(page, ".node") + count(page, ".tiny")
    assert 2 < drawn < 2500
    assert page.js("tree.nodes.length") <= min(nodes, NODES)
    page.click(".node", count=2)
    page.click(".node")
    assert "head head" in page.panel()
