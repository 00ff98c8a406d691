"""The report of an optimisation: its data, and its page in a real browser without scripts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from lampc.runtime.reports import SCHEMA, Trial, write_html
from lampc.runtime.reports.changes import compare
from lampc.runtime.reports.data import front
from lampc.runtime.reports.intervals import paired_gain, row_interval
from lampc.runtime.reports.matrix import matrix, totals
from lampc.runtime.reports.svg import TIMES, duration, short, ticks
from lampc.runtime.reports.told import changes_text, gain_text
from lampc.runtime.reports.words import Edit, line_edits, plain, word_edits
from tests.pictures.browser import Browser, Page, chromium_of, colors
from tests.pictures.optimised import changes, report

Open = Callable[[str], Page]


# -- figures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scores", [[0.0, 1.0] * 50, [i / 97 for i in range(97)]], ids=["two values", "many values"])
def test_interval_is_that_of_the_plain_bootstrap(scores: list[float]) -> None:
    found = row_interval(scores, draws=8000)
    rng = np.random.default_rng(7)
    values = np.array(scores) * 100
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(8000)]
    assert found.mean == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx(np.percentile(means, (2.5, 97.5)), abs=0.6)
    assert row_interval(scores) == row_interval(scores), "seeded"


def test_paired_interval_is_narrower_than_that_of_two_means() -> None:
    rng = np.random.default_rng(0)
    before = [float(x) for x in rng.random(200) < 0.5]
    after = [max(b, float(x)) for b, x in zip(before, rng.random(200) < 0.2, strict=True)]
    gain = paired_gain(before, after)
    assert gain.mean == pytest.approx(100 * (np.mean(after) - np.mean(before)))
    assert gain.low > 0, "no row got worse"
    assert gain.high - gain.low < row_interval(after).high - row_interval(before).low
    with pytest.raises(ValueError, match="the same rows"):
        paired_gain([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="at least one"):
        row_interval([])
    assert gain_text(gain, 200).startswith(f"{gain.mean:+.1f} on the same 200 rows (95 %: +")
    assert "it may be chance" in gain_text(paired_gain([0.0, 1.0], [1.0, 0.0]), 2)


def test_front_holds_what_nothing_beats() -> None:
    points = [(50.0, 100.0), (60.0, 100.0), (60.0, 90.0), (40.0, 95.0), (70.0, 200.0), (70.0, 210.0), (99.0, None)]
    trials = [Trial(i, "s", "", score, 10, True, tokens) for i, (score, tokens) in enumerate(points)]
    trials.append(Trial(7, "s", "", 100.0, 2, False, 1.0))  # on some rows only
    assert front(trials) == (2, 4)
    assert front([]) == ()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 7), (3, 98), (0, 123456), (0.001, 0.0042)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 9
    assert all(low <= t <= high for t in found)
    assert all(len(f"{t:.10g}".strip("0.").replace(".", "")) <= 4 for t in found)


def test_numbers_as_people_read_them() -> None:
    assert [short(v) for v in (0, 950, 1200, 34_000, 5_600_000, 123_456_789)] == [
        "0", "950", "1.2k", "34k", "5.6M", "123M",
    ]  # fmt: skip
    assert [duration(s) for s in (0, 0.42, 12, 210, 7560)] == ["0 s", "0.4 s", "12 s", "3.5 min", "2.1 h"]
    assert ticks(0, 1180, 4, TIMES) == [0, 300, 600, 900]


# -- differences -----------------------------------------------------------------------------------------


def sides(edits: list[Edit]) -> tuple[str, str]:
    return tuple("".join(text for kind, text in edits if kind in ("=", side)) for side in "-+")  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("a", "b", "shown"),
    [
        ("Say the team.", "Say the whole team.", "Say the {+whole +}team."),
        ("Complete the task.", "Say the team now.", "[-Complete-]{+Say+} the [-task-]{+team now+}."),
        ("one two three", "one 2 3", "one [-two three-]{+2 3+}"),
        ("a\nb\n", "a\nc\n", "a\n[-b-]{+c+}\n"),
        ("", "new", "{+new+}"),
        ("same", "same", "same"),
    ],
)
def test_words_that_changed(a: str, b: str, shown: str) -> None:
    edits = word_edits(a, b)
    assert plain(edits) == shown
    assert sides(edits) == (a, b)
    assert sides(line_edits(a, b)) == (a, b)


def test_long_texts_are_compared_by_lines_and_quickly() -> None:
    a = "\n".join(f"line {i} of a long prompt with words" for i in range(3000))
    b = a.replace("line 1500 ", "line fifteen hundred ")
    began = time.process_time()
    edits = word_edits(a, b)
    assert time.process_time() - began < 2
    assert sides(edits) == (a, b)
    assert [kind for kind, _ in edits] == ["=", "-", "+", "="]


def test_changes_name_what_changed() -> None:
    found = changes()
    sort, reply = found.predictors
    assert (sort.changed, reply.changed, found.changed) == (True, False, True)
    assert [d.kind for d in sort.demos] == ["-", "+", "+"]
    assert sort.demos[1].augmented
    prompt = "".join(text for kind, text in sort.prompt if kind in "=+")
    assert "{note}" in prompt, "inputs that are not known stand as their names"
    assert "Say the team for its last problem." in prompt
    text = changes_text(found)
    assert text.splitlines()[0] == "sort.instruction"
    assert "sort.demos: 1 -> 2" in text
    assert "(from a run)" in text
    assert "reply" not in text
    assert "  + " in changes_text(found, prompts=True).split("what it sends")[1]


def test_predictors_of_one_side_only() -> None:
    from lampc.frontend.lmp import compile_lmp
    from lampc.ir import Assignment
    from tests.pictures.optimised import PROGRAM

    a = compile_lmp(PROGRAM).module
    b = compile_lmp(PROGRAM.replace("sort", "choose")).module
    found = compare(a, Assignment(), Assignment(), b)
    assert (found.only_before, found.only_after) == (("sort",), ("choose",))
    assert changes_text(found) == "only before: sort\nonly after: choose"


# -- the data --------------------------------------------------------------------------------------------


def test_json_has_a_version_and_all_that_is_documented() -> None:
    made = report(12, 30)
    data = json.loads(made.json())
    assert data["schema"] == SCHEMA
    text = (Path(__file__).parents[2] / "docs" / "optimizing.md").read_text(encoding="utf-8")
    part = text.partition(f"`{SCHEMA}`")[2]
    named = set(re.findall(r"`([a-z_]+)`", part))
    keys = {*data, *data["trials"][0], *data["cost"], *data["changes"], *data["changes"]["predictors"][0]}
    assert keys - named == set(), "docs/optimizing.md says what each key is"
    trial = data["trials"][4]
    assert trial["states"].count("c") + trial["states"].count("r") == trial["rows"]
    assert len(trial["scores"]) == 30
    assert data["gain"]["low"] <= data["gain"]["mean"] <= data["gain"]["high"]


# -- the page --------------------------------------------------------------------------------------------


def test_pictures_are_well_formed_and_escaped() -> None:
    text = write_html(report(40, 60))
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(picture.replace("&nbsp;", " "))
    assert "<script" not in text
    assert "<b>note</b>" not in text
    assert "&lt;b&gt;note&lt;/b&gt;" in text
    assert "http" not in re.sub(r"http-equiv", "", text), "nothing is asked of any server"


@pytest.mark.parametrize("rows", [1, 60, 160, 161, 5000])
def test_matrix_has_the_area_of_its_cells(rows: int) -> None:
    made = report(9, rows)
    counts = totals(made)
    assert sum(counts.values()) == 9 * rows
    areas = dict.fromkeys(("computed", "reused", "cut"), 0.0)
    for kind, path in re.findall(r'class="cell (\w+)" d="([^"]*)"', matrix(made)):
        areas[kind] += sum(float(w) * float(h) for w, h in re.findall(r"h([\d.]+)v([\d.]+)h-", path))
    whole = sum(areas.values())
    wanted = counts["computed"] + counts["reused"] + counts["cut"]
    for kind, area in areas.items():
        assert area / whole == pytest.approx(counts[kind] / wanted, abs=0.02)


def test_five_thousand_rows_by_sixty_trials_stay_small_and_quick() -> None:
    began = time.process_time()
    made = report(60, 5000)
    text, data = write_html(made), made.json()
    assert time.process_time() - began < 8
    assert len(text.encode()) < 2_000_000
    assert len(data) < 4_000_000


def test_a_run_with_next_to_nothing_has_a_page() -> None:
    from lampc.runtime.reports import Report

    assert "No trial was scored" in write_html(Report("empty"))
    one = Report("one", trials=[Trial(0, "start", "as found", 50.0, 10, True)], before=50.0, after=50.0)
    text = write_html(one)
    assert "Score by trial" in text
    assert 'id="matrix"' not in text


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium_of(tmp_path_factory.mktemp("profile")) as made:
        yield made


def count(page: Page, selector: str) -> int:
    found: int = page.js(f"document.querySelectorAll({selector!r}).length")
    return found


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("trials", "rows"), [(24, 40), (60, 5000)])
def test_page_is_read_in_a_browser(chromium: Browser, tmp_path: Path, scheme: str, trials: int, rows: int) -> None:
    path = tmp_path / "report.html"
    path.write_text(write_html(report(trials, rows)), encoding="utf-8")
    page = chromium.open(path)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    for section in ("summary", "score", "front", "matrix", "changes", "cost", "trials", "failures"):
        assert count(page, f"section#{section}") == 1
    assert count(page, "#score figure") == 3, "over runs, tokens and time"
    assert count(page, "#score circle.result") >= 3
    assert count(page, "#front circle") >= trials
    assert count(page, "#matrix path.computed") >= trials * 2 // 3
    assert count(page, "#changes ins") >= 1
    assert count(page, "#trials tbody tr") == trials
    seen = page.js("document.body.innerText")
    assert "gain on the rows it was chosen by" in seen
    assert "computed: " in seen
    over = page.js(
        "[...document.querySelectorAll('main svg text')].filter(t => { const a = t.getBoundingClientRect(),"
        " b = t.ownerSVGElement.getBoundingClientRect(); return a.left < b.left - 1 || a.right > b.right + 1"
        " || a.bottom > b.bottom + 1; }).map(t => t.textContent)"
    )
    assert over == [], "no label is cut off"
    back, ink = page.js("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    assert (light(back) > light(ink)) == (scheme == "light")
    assert abs(light(back) - light(ink)) > 150
    assert colors(page.screenshot()) > 8, "the page is blank"
    page.js("void scrollTo(0, document.getElementById('matrix').offsetTop)")
    assert colors(page.screenshot()) > 8
    assert page.errors == []
    assert page.requests == []


@pytest.mark.browser
def test_the_keyboard_reaches_trials_and_what_is_folded(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(write_html(report(24, 40)), encoding="utf-8")
    page = chromium.open(path)
    reached = []
    for _ in range(400):
        tab(page)
        name, target = page.js("(a => [a.tagName, a.getAttribute('href') || ''])(document.activeElement)")
        reached.append((name.lower(), target))
        if name == "SUMMARY":
            break
    links = [target for name, target in reached if name == "a" and re.fullmatch(r"#t\d+", target)]
    assert len(links) > 5, "marks of charts are links"
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", windowsVirtualKeyCode=13, text="\r")
    page.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", windowsVirtualKeyCode=13)
    assert page.js("document.querySelector('details').open"), "Enter opens the prompt"
    number = links[-1].removeprefix("#t")
    page.js(f"document.querySelector('svg a[href=\"#t{number}\"]').focus()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", windowsVirtualKeyCode=13, text="\r")
    page.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", windowsVirtualKeyCode=13)
    assert page.js("location.hash") == f"#t{number}"
    assert page.js("document.querySelector('tr:target').id") == f"t{number}"
    assert page.errors == []


def tab(page: Page) -> None:
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", windowsVirtualKeyCode=9)
    page.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", windowsVirtualKeyCode=9)


def light(color: str) -> float:
    """How light an `rgb(...)` is, 0 to 255."""
    red, green, blue = map(float, re.findall(r"[\d.]+", color)[:3])
    return 0.3 * red + 0.6 * green + 0.1 * blue
