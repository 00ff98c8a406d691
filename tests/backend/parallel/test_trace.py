"""What ranks write down of what they did when: nothing is missing; half-batches compute while sums are under way."""

import json
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from lampc.backend.parallel import team
from lampc.backend.parallel.settings import Settings
from lampc.backend.parallel.trace import Event, Trace, chrome, read, shares
from tests.backend.architectures import save
from tests.backend.parallel.ranks import Noted, load, threads
from tests.backend.test_exact import finish
from tests.backend.test_models_exact import KV, answers, requests

__all__ = ["threads"]
ROOT = Path(__file__).resolve().parents[3]


def inside(one: Event, other: Event) -> bool:
    return other.start <= one.start and one.end <= other.end


def of(kind: str, events: list[Event]) -> list[Event]:
    return [event for event in events if event.kind == kind]


@pytest.mark.parametrize("halve_from", [2, 1 << 30])
def test_every_rank_says_what_it_did(
    halve_from: int, threads: list[Noted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, traces = save("llama", tmp_path / "model"), tmp_path / "traces"
    traces.mkdir()
    plain = load(folder, 2, kv_tokens=KV)
    expected = answers(finish(plain, requests()))
    plain.close()
    assert all(share.trace is None for share in threads)
    threads.clear()
    monkeypatch.setattr(team, "Settings", partial(Settings, halve_from=halve_from, trace=str(traces)))
    engine = load(folder, 2, kv_tokens=KV)
    assert answers(finish(engine, requests())) == expected
    engine.close()
    ranks = read(traces)
    assert len(ranks) == 2
    for share in threads:
        events = ranks[share.rank]
        steps, computed, exchanges, waits = (of(kind, events) for kind in ("step", "compute", "exchange", "wait"))
        assert len(steps) == engine.stats().steps
        assert sum(event.nbytes for event in exchanges) == share.group.sent
        assert len(exchanges) == len(waits) == len(share.steps) * (1 + 2 * share.outline.layers) + len(steps)
        assert all(event.end >= event.start for event in events)
        for event in (*computed, *exchanges, *waits):
            assert any(inside(event, step) for step in steps)
        # A rank does one thing at a time.
        busy = sorted((*computed, *waits), key=lambda event: event.start)
        assert all(a.end <= b.start for a, b in pairwise(busy))
        overlapped = [
            (one, other)
            for one, wait in zip(exchanges, waits, strict=True)
            for other in computed
            if one.place != other.place and one.start <= other.start and other.end <= wait.start
        ]
        assert bool(overlapped) == (halve_from == 2)
        found = shares(events)
        assert 0 <= found.hidden <= 1
        assert found.waited <= found.under_way
        assert found.compute > 0
    since = of("step", ranks[0])[2].start
    assert len(of("step", read(traces, since)[0])) == engine.stats().steps - 2


def test_shares() -> None:
    events = [
        Event("compute", "half 1", 0.0, 1.0),
        Event("exchange", "gather", 1.0, 3.0, 0, 8),
        Event("compute", "half 2", 1.0, 2.0, 1),
        Event("exchange", "gather", 2.0, 4.0, 1, 8),  # a second of it at the same time as the one before
        Event("wait", "gather", 2.0, 3.0),
        Event("compute", "half 1", 3.0, 4.0),
    ]
    found = shares(events)
    assert (found.compute, found.under_way, found.waited) == (3.0, 3.0, 1.0)
    assert found.hidden == pytest.approx(2 / 3)
    assert shares([]).hidden == 1.0


def test_the_file_is_what_browsers_show() -> None:
    trace = Trace(0)
    with trace.step(4), trace.computing(1):
        pass
    trace.note(Event("exchange", "gather", trace.events[0].start, trace.events[0].end, 1, 24))
    found = json.loads(json.dumps(chrome([("rank 0", trace.events), ("rank 1", [])])))
    names = {event["pid"]: event["args"]["name"] for event in found["traceEvents"] if event["name"] == "process_name"}
    assert names == {0: "rank 0", 1: "rank 1"}
    tracks = {e["tid"]: e["args"]["name"] for e in found["traceEvents"] if e["name"] == "thread_name" and not e["pid"]}
    shown = {event["cat"]: event for event in found["traceEvents"] if event["ph"] == "X"}
    assert tracks[shown["compute"]["tid"]] == "compute, second half"
    assert tracks[shown["exchange"]["tid"]] == "exchanges, second half"
    assert shown["exchange"]["args"] == {"bytes": 24}
    assert all(event["ts"] >= 0 and event["dur"] >= 0 for event in shown.values())


@pytest.mark.slow
def test_one_command_writes_it(tmp_path: Path) -> None:
    folder = save("llama", tmp_path / "model")
    command = [sys.executable, str(ROOT / "benchmarks" / "tensor_parallel.py"), "--folder", str(folder)]
    command += ["--dtype", "float32", "--prompt", "64", "--new", "4", "--trace", str(tmp_path / "trace.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("of communication hidden behind compute") == 8  # ranks, halves or not, prefill or decode
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {event["pid"] for event in events} == {0, 1, 2, 3}
    assert {event["cat"] for event in events if event["ph"] == "X"} == {"step", "compute", "exchange", "wait"}
