"""Maps that begin with items of a list while it is being written: the same outputs, sooner."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from program_bench.measure import run  # noqa: E402
from program_bench.script import Rule  # noqa: E402
from program_bench.workload import Size, Workload  # noqa: E402

from lampc.backend import load_engine  # noqa: E402
from lampc.frontend.lmp import compile_lmp  # noqa: E402
from lampc.ir.prog import Map  # noqa: E402
from lampc.passes.schedule.stream_lists import StreamLists  # noqa: E402
from lampc.runtime import pipes  # noqa: E402
from lampc.runtime.calling_off import RunControl  # noqa: E402
from lampc.runtime.compile import lower  # noqa: E402
from lampc.runtime.pool import firefly_folder  # noqa: E402
from lampc.runtime.session import Session  # noqa: E402
from lampc.runtime.streaming_items import ItemPieces, sure_items  # noqa: E402
from lampc.runtime.types import Row  # noqa: E402
from tests.runtime.test_early import simulated  # noqa: E402

SOURCE = """tool search(query: str) -> str @pure = python("program_bench.tools:search");
signature Points(topic: str) -> (points: list[str]) {
  \"\"\"Name the points of a topic.\"\"\"
}
signature Write(topic: str, point: str, found: str) -> (text: str) {
  \"\"\"Write a sentence on a point.\"\"\"
}
module Main(topic: str) -> (texts: list[str]) {
  use points = Predict(Points);
  use write = Predict(Write);
  let made = points(topic: topic);
  let texts = map p in made.points {
    let found = search(p);
    let text = write(topic: topic, point: p, found: found);
    yield text.text;
  };
  return (texts: texts);
}
"""


def outline(layout: str = "compact", rows: int = 2, latency: float = 0.4) -> Workload:
    size = Size(scale=0.1)
    source = SOURCE.replace("Predict(Points)", f"Predict(Points) @layout({layout})")
    given = tuple({"topic": size.text(100, "topic", i)} for i in range(rows))
    rules = {"points": Rule({"": 30}, items=(4, 6)), "write": Rule({"": 20})}
    return Workload("outline", "mixed", source, given, rules, 0, size.scale, latency=latency)


@pytest.mark.parametrize("layout", ["compact", "chat"])
def test_items_begin_before_the_list_ends(layout: str) -> None:
    work = outline(layout)
    mine, without = simulated(work)[0], simulated(work, "stream-lists")[0]
    assert mine.failed == 0
    assert (mine.outputs, mine.calls) == (without.outputs, without.calls)
    assert mine.computed_tokens == without.computed_tokens
    assert mine.makespan < 0.95 * without.makespan, (mine.makespan, without.makespan)


def test_a_busy_model_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "ROOM", -100)
    work = outline()
    mine, without = simulated(work)[0], simulated(work, "stream-lists")[0]
    assert (mine.outputs, mine.makespan) == (without.outputs, without.makespan)


def test_an_engine_says_the_same() -> None:
    found = []
    for without in ("", "stream-lists"):
        engine: Any = load_engine(firefly_folder(), kv_tokens=1 << 13, policy="warm")
        found.append(run(outline(latency=0.0), engine, None, without))
    assert found[0].outputs == found[1].outputs
    assert found[0].computed_tokens == found[1].computed_tokens


def test_items_that_are_not_in_the_list_in_the_end_are_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a stream says, what counts is the answer as it is read."""
    inner = ItemPieces.push
    wrong: list[int] = []

    def push(self: ItemPieces, piece: str) -> list[Any]:
        items = inner(self, piece)
        wrong.extend(range(len(items)))
        return [f"no {item}" if n % 2 else item for n, item in enumerate(items, len(wrong))]

    work = outline()
    right = simulated(work, "stream-lists")[0]
    monkeypatch.setattr(ItemPieces, "push", push)
    mine = simulated(work)[0]
    assert wrong
    assert mine.failed == 0
    assert mine.outputs == right.outputs


def test_firefly_in_a_session_gives_the_same_values_and_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOURCE.replace("search(p)", "p")
    unit = compile_lmp(source.replace("Predict(Points)", "Predict(Points) @sample(max_tokens: 60)"), "outline.lmp")
    rows = [Row(str(i), {"topic": f"topic {i}"}) for i in range(3)]
    found = []
    for room in (28, -100):
        monkeypatch.setattr(pipes, "ROOM", room)
        engine: Any = load_engine(firefly_folder(), kv_tokens=1 << 13)
        with Session(model=engine, seed=1) as session:
            outcomes = session.run(unit, rows)
            found.append(
                [(o.value, str(o.error), [(s.predictor, s.inputs, s.text) for s in o.trace]) for o in outcomes]
            )
            engine.check()
            engine.reset_cache()
            assert engine.stats().used_blocks == 0
    assert found[0] == found[1]


FAILING = """signature Parts(text: str) -> (parts: list[str]) { \"\"\"List the words of the text.\"\"\" }
signature Say(text: str) -> (answer: str) { \"\"\"Write the text again.\"\"\" }
module Go(text: str) -> (steps: list[str]) {
  use parts = Predict(Parts) @sample(temperature: 0.9, max_tokens: 60);
  use more = ChainOfThought(Say) @sample(temperature: 1.2, max_tokens: 24);
  let p = parts(text: text);
  let steps = map x in p.parts { let k = more(text: x); yield k.answer; };
  return (steps: steps);
}
"""
TEXTS = ("cup in red the . is", "is in please red", "where in", "? uma uma ? broken", "my uma cora cora")


def test_who_listens_hears_nothing_of_items_that_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second item is begun as another one than the list has: listeners hear of the real ones alone."""
    inner, begun = ItemPieces.push, list[Any]()

    def push(self: ItemPieces, piece: str) -> list[Any]:
        items = inner(self, piece)
        begun.extend(items)
        first = len(begun) - len(items)
        return [f"no {item}" if n % 2 else item for n, item in enumerate(items, first)] if heard else []

    monkeypatch.setattr(ItemPieces, "push", push)
    heard: list[list[tuple[str, str]]] = []
    for _ in range(2):
        told: dict[tuple[str, int], str] = {}

        def hear(node: str, call: int, text: str, told: dict[tuple[str, int], str] = told) -> None:
            told[node, call] = told.get((node, call), "") + text

        begun.clear()
        with RunControl(hear).running():
            assert simulated(outline())[0].failed == 0
        heard.append(sorted((node, text) for (node, _), text in told.items()))
    assert len(begun) > 6
    assert heard[0] == heard[1]


def test_an_item_that_fails_while_others_are_answered_ends_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = compile_lmp(FAILING, "failing.lmp")
    found = []
    for without in (False, True):
        if without:
            monkeypatch.setattr(StreamLists, "run", lambda self, module, ctx: {})
        for seed in range(4):
            engine: Any = load_engine(firefly_folder(), kv_tokens=1 << 14)
            with Session(model=engine, seed=seed) as session:
                outcomes = session.run(unit, [Row("0", {"text": text}) for text in TEXTS])
                engine.check()
                found.append([(o.value, str(o.error)) for o in outcomes])
    assert found[:4] == found[4:]
    assert {value is None for told in found for value, _ in told} == {True, False}


def test_what_may_not_be_begun_early_is_not_marked() -> None:
    def marked(source: str) -> list[str]:
        from lampc.backend.fake import FakeEngine
        from lampc.runtime.local import LocalModel

        target = LocalModel(FakeEngine(), "x").target
        lowered = lower(compile_lmp(source, "x.lmp").module, lambda _: target)
        return [op.streams for op in lowered.walk() if isinstance(op, Map)]

    assert marked(SOURCE) == ["points"]
    assert marked(SOURCE.replace(" @pure", "")) == [""]  # effects happen once, in order
    whole = SOURCE.replace("Write(topic: str", "Write(topic: list[str]").replace(
        "write(topic: topic", "write(topic: made.points"
    )
    assert marked(whole) == [""]  # each needs the whole list


@pytest.mark.parametrize(
    ("value", "ended", "items"),
    [
        ('["a, b", "c\\"d", "e', False, ["a, b", 'c"d']),
        ('["a"', False, []),
        ('["a" ', False, []),
        ('["a" ,', False, ["a"]),
        ("[1, 23, 4", False, [1, 23]),
        ("[1, 2]", True, [1, 2]),
        ("[]", True, []),
        ("- one\n- two\n- thr", False, ["one", "two"]),
        ("- one\n- two", True, ["one", "two"]),
        ("neither", False, []),
    ],
)
def test_sure_items(value: str, ended: bool, items: list[Any]) -> None:
    assert sure_items(value, ended) == items


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_items_come_once_however_the_text_is_cut(size: int) -> None:
    points = ["one, two", 'say "hi"\n', "éß中", "", "]"]
    texts = {
        "chat": f"[[ ## points ## ]]\n{json.dumps(points, ensure_ascii=False)}\n\n[[ ## completed ## ]]",
        "json": json.dumps({"points": points}, indent=2),
    }
    for layout, text in texts.items():
        pieces = ItemPieces(layout, "points", ["points"])
        given = [item for at in range(0, len(text), size) for item in pieces.push(text[at : at + size])]
        assert given == points, layout
