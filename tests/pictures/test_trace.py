"""A run as a trace: golden text on a scripted program, and what Perfetto relies on in the structure of any."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lampc.backend import FakeEngine, load_engine
from lampc.frontend.lmp import compile_lmp
from lampc.runtime.cli import main
from lampc.runtime.events import Event, EventBus, read_events
from lampc.runtime.pictures.chrome import PROGRAM, STEPS, entries, write
from lampc.runtime.pictures.timeline import Timeline, timeline
from lampc.runtime.pool import firefly_folder
from lampc.runtime.prefix_record import read_prefixes
from lampc.runtime.recorded import recorded
from lampc.runtime.records import Recording
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.pictures.scripted import SOURCE, record
from tests.pictures.scripted import rows as notes
from tests.runtime.loopback import Loopback
from tests.runtime.programs import CASES
from tests.runtime.test_execute import rows

FILES = Path(__file__).parent / "files"
Entry = dict[str, Any]


def traced(folder: Path) -> tuple[Timeline, list[Entry]]:
    """The trace of a recorded run, after it was written and read back, and its structure checked."""
    run = timeline(read_events(folder / "events.jsonl"))
    found = json.loads(write(run))["traceEvents"]
    assert found == entries(run)
    check(found)
    return run, found


def check(found: list[Entry]) -> None:
    """Slices of a track lie one after another or inside of each other; arrows begin, lead and end in slices that are
    there, forward in time; all tracks have names."""
    tracks: dict[tuple[int, int], list[Entry]] = defaultdict(list)
    named = {(e["pid"], e["tid"]) for e in found if e["name"] == "thread_name"}
    processes = {e["pid"] for e in found if e["name"] == "process_name"}
    times = [e["ts"] for e in found if e["ph"] != "M"]
    assert times == sorted(times)
    assert min(times, default=0) >= 0
    for e in found:
        assert e["pid"] in processes
        if e["ph"] == "X":
            assert e["dur"] >= 0
            assert isinstance(e["ts"], int)
            assert isinstance(e["dur"], int)
            tracks[e["pid"], e["tid"]].append(e)
    assert set(tracks) - {(1, 1)} <= named
    for slices in tracks.values():
        around: list[int] = []
        for e in slices:  # by time, outer ones first
            while around and around[-1] <= e["ts"]:
                around.pop()
            assert not around or e["ts"] + e["dur"] <= around[-1], e
            around.append(e["ts"] + e["dur"])
    flows: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for e in found:
        if e["ph"] in "stf":
            flows[e["cat"], e["id"]].append(e)
            inside = [s for s in tracks[e["pid"], e["tid"]] if s["ts"] <= e["ts"] < s["ts"] + s["dur"]]
            assert inside, e
            begins = "call" if e["cat"] == "flow" else "prefill"
            wanted = begins if e["ph"] == "s" else "step" if e["tid"] == STEPS else "request"
            assert wanted in {s["cat"] for s in inside}
    for (kind, _), arrow in flows.items():
        assert "".join(e["ph"] for e in arrow) in ("sf", "stf", "sttf")
        assert (arrow[0]["pid"] == PROGRAM) == (kind == "flow")
        assert arrow[-1]["bp"] == "e"


def slices(found: list[Entry], kind: str) -> list[Entry]:
    return [e for e in found if e["ph"] == "X" and e["cat"] == kind]


def last(found: list[Entry], counter: str) -> dict[str, float]:
    values: dict[str, float] = [e for e in found if e["ph"] == "C" and e["name"] == counter][-1]["args"]
    return values


def test_golden(tmp_path: Path, golden: Callable[[Path, str], None]) -> None:
    record(tmp_path, 3, max_running=2)
    run, _ = traced(tmp_path)
    golden(FILES / "scripted.trace.json", write(run))


@pytest.mark.parametrize("n", [1, 40])
def test_the_trace_counts_what_the_engine_counts(n: int, tmp_path: Path) -> None:
    engine = record(tmp_path, n, max_running=8, max_batch_tokens=64, kv_tokens=2048)
    stats = engine.stats()
    _, found = traced(tmp_path)
    steps = slices(found, "step")
    assert len(steps) == stats.steps
    assert sum(s["args"]["tokens"] for s in steps) == stats.forward_tokens
    assert last(found, "prompt tokens") == {"computed": stats.computed_tokens, "cached": stats.cached_tokens}
    rate = 100 * stats.cached_tokens / (stats.cached_tokens + stats.computed_tokens)
    assert last(found, "hit rate")["percent"] == pytest.approx(rate, abs=0.01)
    assert max(e["args"]["used"] for e in found if e["name"] == "KV pages") <= stats.peak_blocks
    assert steps[-1]["ts"] + steps[-1]["dur"] == pytest.approx(engine.clock.now * 1e6, abs=2)
    requests = slices(found, "request")
    assert len(requests) == stats.requests
    assert sum(r["args"]["computed"] for r in requests) == stats.computed_tokens
    assert sum(r["args"]["cached"] for r in requests) == stats.cached_tokens
    assert len(slices(found, "row")) == n
    assert len(slices(found, "call")) == 2 * n
    arrows = [e for e in found if e["ph"] == "s"]
    assert len(arrows) == 2 * n, "every call was answered by a request"
    assert all(e["tid"] == STEPS for e in found if e["ph"] == "f"), "and each ends in a step"
    assert {p["name"] for p in slices(found, "phase")} >= {"prefill", "decode"}
    assert sum(p["args"]["calls"] for p in slices(found, "plan")) == stats.requests


def test_what_is_begun_early_leads_to_the_request_that_finds_it(tmp_path: Path) -> None:
    """The prompt of the second call is begun while the first is waited for: a request of its own, with steps."""
    long = " ".join(f"cup {i} of tea" for i in range(40))
    given = [Row(str(i), {"note": f"note {i}: {long}"}) for i in range(2)]
    engine = record(tmp_path, 2, early=True, given=given)
    run, found = traced(tmp_path)
    early, stats = slices(found, "prefill"), engine.stats()
    assert len(early) == stats.requests - 4 > 0
    assert all(e["args"]["used"] and e["args"]["computed"] > 0 for e in early)
    assert sum(e["args"]["computed"] for e in (*early, *slices(found, "request"))) > stats.computed_tokens, (
        "what was computed early is counted at the calls, too"
    )
    assert sum(r["args"]["computed"] for r in slices(found, "request")) == stats.computed_tokens
    arrows = [e for e in found if e["ph"] in "sf" and e["cat"] == "early"]
    assert len(arrows) == 2 * len(early)
    finders = {r["args"]["request"]: r for r in slices(found, "request")}
    for number, prefill in run.prefills.items():
        assert finders[prefill.by]["name"] == prefill.name == "judge"
        assert any(number in step.requests for step in run.steps)
        assert prefill.phases()
    names = [e["args"]["name"] for e in found if e["name"] == "thread_name"]
    assert "begun early 1" in names


def test_calls_of_an_endpoint_have_requests_and_no_steps(tmp_path: Path) -> None:
    program, inputs = CASES["call"]
    with Loopback(FakeEngine()) as server:
        bus = EventBus()
        with Session(model=server.url, bus=bus) as session, Recording(tmp_path, "far", bus, details=True):
            session.run(program, rows(inputs))
            calls = session.usage.calls - session.usage.stored_calls
    run, found = traced(tmp_path)
    assert len(slices(found, "request")) == calls
    assert not run.steps
    assert [e for e in found if e["ph"] == "f"]
    assert "C" not in {e["ph"] for e in found}


def test_a_run_that_was_killed_ends_where_its_events_end() -> None:
    told = [
        Event("run.start", 10.0, "r", {"name": "r"}),
        Event("row.start", 10.5, "r", {"row": "7", "rollout": 0, "cell": 1}),
        Event("node.start", 11.0, "r", {"node": "ask", "row": "7", "call": 2, "cell": 1}),
        Event("note", 12.0, "r", {"text": "and then"}),
    ]
    found = entries(timeline([Event("row.start", 1.0, "q", {"row": "of the run before"}), *told]))
    check(found)
    assert [(e["name"], e["ts"], e["dur"]) for e in found if e["ph"] == "X"] == [
        ("r", 0, 2_000_000),
        ("row 7", 500_000, 1_500_000),
        ("ask", 1_000_000, 1_000_000),
    ]
    assert all(e["args"]["unfinished"] for e in found if e["ph"] == "X")


def test_calls_stand_in_the_row_that_made_them_and_beside_it_if_they_overlap() -> None:
    """Two rollouts of one row are under way; a call without a row is of code outside of any run."""
    row = {"row": "1", "rollout": 0}
    told = [
        Event("row.start", 0.0, "", {**row, "cell": 1}),
        Event("row.start", 0.0, "", {**row, "cell": 2}),
        *(
            Event("node.start", 0.1, "", {"node": f"n{i}", "row": "1", "call": i, "cell": c})
            for i, c in ((3, 1), (4, 2))
        ),
        Event("node.start", 0.2, "", {"node": "n5", "row": "1", "call": 5, "cell": 2}),
        Event("node.start", 0.2, "", {"node": "n6", "call": 6}),
        *(Event("node.end", 0.3, "", {"node": f"n{i}", "call": i, "request": 0}) for i in (3, 4, 5, 6)),
        *(Event("row.end", 0.4, "", {**row, "cell": i}) for i in (1, 2)),
    ]
    found = entries(timeline(told))
    check(found)
    tracks = {e["name"]: e["tid"] for e in slices(found, "call")}
    assert {tracks["n3"], tracks["n4"]} == {r["tid"] for r in slices(found, "row")}
    assert tracks["n5"] not in {tracks["n3"], tracks["n4"], tracks["n6"]}
    assert all(e["args"]["stored"] for e in slices(found, "call"))


def test_an_engine_makes_no_events_unless_somebody_hears_them() -> None:
    program, inputs = CASES["call"]
    engine, bus, steps = FakeEngine(), EventBus(), list[Event]()
    with Session(model=engine, bus=bus) as session:
        session.run(program, rows(inputs)[:1])
        assert not engine._hooks
        off = bus.subscribe(lambda e: steps.append(e) if e.kind == "step" else None)
        assert engine._hooks
        session.run(
            program,
            [
                replace(row, id=f"again {row.id}", inputs={k: f"{v}!" for k, v in row.inputs.items()})
                for row in rows(inputs)
            ],
        )
        off()
        assert steps
        assert not engine._hooks


def test_no_details_are_told_unless_somebody_hears_them() -> None:
    program, inputs = CASES["call"]
    heard: list[Event] = []
    bus = EventBus()
    off = bus.subscribe(heard.append)
    with Session(model=FakeEngine(), bus=bus) as session:
        session.run(program, rows(inputs))
        assert "request.move" not in {e.kind for e in heard}
        assert not any("requests" in e.data for e in heard)
        off()
        assert not bus.detailed
        end = bus.subscribe(heard.append, details=True)
        assert bus.detailed
        end()
        assert not bus.detailed


def test_steps_of_a_real_engine_are_all_there(tmp_path: Path) -> None:
    program = compile_lmp(SOURCE)
    engine = load_engine(firefly_folder(), kv_tokens=4096)
    with Session(model=engine) as session:
        with recorded(tmp_path, session.desk):
            session.run(program, notes(6))
        stats = engine.stats()
    _, found = traced(tmp_path)
    assert len(slices(found, "step")) == stats.steps
    assert last(found, "prompt tokens") == {"computed": stats.computed_tokens, "cached": stats.cached_tokens}
    assert len({e["id"] for e in found if e["ph"] == "s"}) == len(slices(found, "call"))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "run", tmp_path / "deep" / "trace.json"
    command = ["run", "examples/01_classify.lmp", "--input", "text=The tea was cold.", "--record", str(folder)]
    assert main(command) == 0
    assert main(["trace", str(folder), "-o", str(out)]) == 0
    assert "1 calls, 1 requests" in capsys.readouterr().err
    found = json.loads(out.read_text(encoding="utf-8"))["traceEvents"]
    check(found)
    assert slices(found, "step")
    assert main(["trace", str(tmp_path / "nowhere")]) == 1
    assert "--record" in capsys.readouterr().err


def test_the_schedule_before_a_run_and_the_run_beside_it(tmp_path: Path) -> None:
    command = ["explain", "examples/01_classify.lmp", "--analyze", "--rows", "4", "--record", str(tmp_path)]
    assert main(command) == 0
    traces = {name: traced(tmp_path / name)[1] for name in ("plan", "run")}
    for found in traces.values():
        assert len(slices(found, "call")) == 4
        assert slices(found, "step")
        assert len([e for e in found if e["ph"] == "f" and e["tid"] == STEPS]) == 4
    assert last(traces["plan"], "prompt tokens") == last(traces["run"], "prompt tokens"), "no prompt hangs on an answer"
    assert read_prefixes(tmp_path / "plan")[0][0].root.calls == 4
