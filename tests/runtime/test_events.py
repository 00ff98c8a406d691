"""Events: one list of kinds, delivered in order, and cheap when nobody listens."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from lampc.backend import FakeEngine
from lampc.runtime.events import KINDS, Event, EventBus, JsonlSink, problems, read_events
from lampc.runtime.session import Session
from lampc.runtime.types import Usage
from tests.runtime.programs import CASES
from tests.runtime.test_execute import rows


def test_subscribers_hear_in_order_until_they_leave() -> None:
    bus = EventBus("r1")
    heard: list[Event] = []
    bus.emit("note", text="nobody")
    leave = bus.subscribe(heard.append)
    bus.emit("note", text="one")
    bus.emit("progress", label="x", done=1, total=None)
    leave()
    bus.emit("note", text="gone")
    assert [(e.kind, e.run, e.data) for e in heard] == [
        ("note", "r1", {"text": "one"}),
        ("progress", "r1", {"label": "x", "done": 1, "total": None}),
    ]
    assert heard[0].time <= heard[1].time <= time.time()


def test_a_subscriber_that_fails_is_taken_off_and_the_others_told() -> None:
    bus = EventBus()
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise OSError("disk full")

    bus.subscribe(broken)
    bus.subscribe(heard.append)
    bus.emit("note", text="one")
    bus.emit("note", text="two")
    texts = [e.data["text"] for e in heard]
    assert "broken failed and hears no more: OSError: disk full" in texts[0]
    assert texts[1:] == ["one", "two"]


def test_every_kind_lists_its_fields() -> None:
    for name, kind in KINDS.items():
        assert kind.about
        assert not set(kind.must) & set(kind.may), name
        assert "kind" not in {*kind.must, *kind.may}
    usage = {*KINDS["run.end"].may}
    assert set(Usage.__slots__) <= usage


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("nope", {}, "there is no kind of event 'nope'"),
        ("note", {}, "note: field 'text' is missing"),
        ("note", {"text": 5}, "note: field 'text' is int"),
        ("note", {"text": "", "colour": "red"}, "note: field 'colour' is not declared"),
        ("progress", {"label": "", "done": 1, "total": "2"}, "progress: field 'total' is str"),
    ],
)
def test_wrong_events_are_found(kind: str, data: dict[str, object], said: str) -> None:
    assert problems(Event(kind, 0.0, "", data)) == [said]
    with pytest.raises(ValueError, match=re.escape(said)):
        EventBus().emit(kind, **data)


def test_a_session_emits_what_is_declared() -> None:
    program, inputs = CASES["call"]
    heard: list[Event] = []
    bus = EventBus()
    bus.subscribe(heard.append)
    with Session(model=FakeEngine(), bus=bus) as session:
        session.run(program, rows(inputs))
    assert {"request.submit", "request.done"} <= {e.kind for e in heard}


def test_events_are_written_and_read(tmp_path: Path) -> None:
    bus = EventBus("r")
    path = tmp_path / "deep" / "events.jsonl"
    for _ in range(2):
        with JsonlSink(path) as sink:
            bus.subscribe(sink)
            bus.emit("note", text="é\n")
            bus.emit("step", tokens=5)
            bus.emit("request.done", node="n", finish="stop", generated=3)
        sink.close()
        bus.emit("note", text="after the end")
    found = list(read_events(path))
    assert [(e.kind, e.run) for e in found] == [("note", "r"), ("request.done", "r")] * 2
    assert found[0].data == {"text": "é\n"}
    assert all(json.loads(line) for line in path.read_text("utf-8").splitlines())


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "e"
    path.write_text('{"kind":"note","time":1,"run":"","data":{}}\n5\n{"kind":"no')
    assert [e.kind for e in read_events(path)] == ["note"]


def test_the_file_has_a_limit(tmp_path: Path) -> None:
    bus = EventBus()
    with JsonlSink(tmp_path / "e", limit=1000) as sink:
        bus.subscribe(sink)
        for _ in range(100):
            bus.emit("note", text="x" * 50)
    assert (tmp_path / "e").stat().st_size <= 1000
    assert sink.dropped > 80


def test_unheard_events_cost_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventBus, "checked", False)
    bus = EventBus()
    assert not bus.heard
    best = min(_timed(bus) for _ in range(5))
    assert best < 5e-6, f"{best * 1e6:.2f} us for an event that nobody hears"


def _timed(bus: EventBus) -> float:
    begun = time.process_time()
    for _ in range(10_000):
        bus.emit("row.start", row="1", rollout=0)
    return (time.process_time() - begun) / 10_000
