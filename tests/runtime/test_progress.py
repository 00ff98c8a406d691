"""Progress and run records: both are fed by events alone."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lampc.backend import FakeEngine
from lampc.runtime.events import EventBus, read_events
from lampc.runtime.locks import FileLock
from lampc.runtime.progress import Progress, time_left
from lampc.runtime.records import RecordError, Recording, RunRecord, read_record
from lampc.runtime.session import Session
from lampc.runtime.types import Usage
from tests.runtime.programs import CASES
from tests.runtime.test_execute import rows

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_now_and_then_where_there_is_no_terminal() -> None:
    clock, out, bus = Clock(), io.StringIO(), EventBus()
    with Progress(bus, file=out, clock=clock):
        for done in range(1, 31):
            clock.now += 1.0
            bus.emit("progress", label="evaluate", done=done, total=30, best=71.25, tokens=1000 * done, errors=0)
        bus.emit("note", text="a [bold]note[/bold]")
        bus.emit("request.submit", count=1, model="m")
    bus.emit("note", text="not heard")
    assert out.getvalue().splitlines() == [
        "evaluate: 11/30  best 71.2  11,000 tokens  0:19 left",
        "evaluate: 21/30  best 71.2  21,000 tokens  0:09 left",
        "evaluate: 30/30  best 71.2  30,000 tokens",
        "a [bold]note[/bold]",
    ]


def test_a_label_that_begins_again_is_new_work() -> None:
    clock, out, bus = Clock(), io.StringIO(), EventBus()
    with Progress(bus, file=out, clock=clock):
        for total in (2, 3):
            for done in range(1, total + 1):
                bus.emit("progress", label="round", done=done, total=total)
    assert out.getvalue().splitlines() == ["round: 2/2", "round: 3/3"]


def test_work_of_unknown_length() -> None:
    clock, out, bus = Clock(), io.StringIO(), EventBus()
    with Progress(bus, file=out, clock=clock, every=0.0):
        bus.emit("progress", label="trace", done=4, total=None, note="so far", errors=2)
    assert out.getvalue() == "trace: 4  so far  2 failed\n"


def test_quiet_says_nothing() -> None:
    out, bus = Terminal(), EventBus()
    with Progress(bus, quiet=True, file=out) as progress:
        bus.emit("progress", label="x", done=1, total=1)
        bus.emit("note", text="x")
        progress.say("x")
        progress.show("x", 1, 1)
    assert out.getvalue() == ""


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    out, bus = Terminal(), EventBus()
    with Progress(bus, file=out) as progress:
        for done in range(1, 6):
            bus.emit("progress", label="[evaluate]", done=done, total=5, best=60.0, tokens=2000)
        bus.emit("progress", label="[evaluate]", done=0, total=None)
        progress.say("[red]plain")
    shown = out.getvalue()
    for part in ("[evaluate]", "5/5", "best 60.0", "2,000 tokens", "[red]plain"):
        assert part in shown


@pytest.mark.parametrize(
    ("seconds", "done", "left", "said"),
    [
        (10.0, 5, 5, "0:10 left"),
        (10.0, 1, 600, "1:40:00 left"),
        (0.2, 5, 5, ""),
        (10.0, 0, 5, ""),
        (10.0, 5, 0, ""),
        (10.0, 5, None, ""),
    ],
)
def test_time_left(seconds: float, done: int, left: int | None, said: str) -> None:
    assert time_left(seconds, done, left) == said


def test_rich_is_not_loaded_without_a_terminal() -> None:
    code = (
        "import sys; from lampc.runtime.progress import Progress; from lampc.runtime.events import EventBus\n"
        "with Progress(EventBus()): pass\n"
        "print([m for m in ('rich', 'torch') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src")},
        check=False,
    )
    assert run.stdout.strip() == "[]", run.stderr


# -- records ------------------------------------------------------------------------------------------


def test_a_run_leaves_its_record(tmp_path: Path) -> None:
    program, inputs = CASES["call"]
    folder = tmp_path / "out" / "trial"
    with Session(model=FakeEngine()) as session:
        with Recording(folder, "trial", session.bus, program="call.lmp", model="fake", seed=3) as record:
            assert read_record(folder).status == "running"
            outcomes = session.run(program, rows(inputs))
            record.rows = len(outcomes)
            record.account(session.usage, session.usage_by_node, bound=session.bound())
            record.facts["note"] = {"any": ["thing"]}
        usage, nodes = session.usage, session.usage_by_node
    found = read_record(folder)
    assert found == record
    assert found == read_record(folder / "record.json")
    assert (found.status, found.name, found.model, found.seed) == ("done", "trial", "fake", 3)
    assert (found.usage, found.nodes) == (usage, nodes)
    assert found.bound == usage.computed_tokens
    assert found.machine["python"]
    kinds = [e.kind for e in read_events(folder / "events.jsonl")]
    assert (kinds[0], kinds[-1]) == ("run.start", "run.end")
    assert "request.done" in kinds
    assert sorted(p.name for p in folder.iterdir()) == ["events.jsonl", "record.json", "record.json.lock"]


@pytest.mark.parametrize(("error", "status"), [(ValueError("odd"), "failed"), (KeyboardInterrupt(), "stopped")])
def test_a_run_that_ends_early_says_so(tmp_path: Path, error: BaseException, status: str) -> None:
    bus = EventBus()

    def run() -> None:
        with Recording(tmp_path, "t", bus) as record:
            record.account(Usage(calls=2), {"p": Usage(calls=2)})
            raise error

    with pytest.raises(type(error)):
        run()
    found = read_record(tmp_path)
    assert found.status == status
    assert found.error.startswith(type(error).__name__)
    assert found.nodes["p"].calls == 2
    assert not bus._subscribers


def test_a_run_with_nothing_left_to_do_keeps_the_earlier_record(tmp_path: Path) -> None:
    bus = EventBus()
    with Recording(tmp_path, "first", bus) as record:
        record.account(Usage(calls=2), {"p": Usage(calls=2)})
    with Recording(tmp_path, "second", bus):
        pass
    assert read_record(tmp_path) == record
    with Recording(tmp_path, "third", bus) as record:
        record.account(Usage(calls=1), {})
    assert read_record(tmp_path).name == "third"


def test_a_folder_takes_the_record_of_one_run_at_a_time(tmp_path: Path) -> None:
    with Recording(tmp_path, "first", EventBus()):
        with pytest.raises(RecordError, match=r"this process itself, .* records a run there; wait for it to end, or"):
            Recording(tmp_path, "second", EventBus()).__enter__()
        other = f"""
from pathlib import Path
from lampc.runtime.events import EventBus
from lampc.runtime.records import Recording
Recording(Path({str(tmp_path)!r}), "third", EventBus()).__enter__()
"""
        told = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False).stderr
        assert f"RecordError: {tmp_path}: process {os.getpid()} records a run there" in told
    with Recording(tmp_path, "fourth", EventBus()) as record:
        record.account(Usage(calls=1), {})
    assert read_record(tmp_path).name == "fourth"
    assert {e.data["name"] for e in read_events(tmp_path / "events.jsonl") if e.kind == "run.start"} == {
        "first",
        "fourth",
    }


def test_a_record_that_could_not_be_kept_leaves_its_folder_to_the_next_run(tmp_path: Path) -> None:
    events, kept = tmp_path / "events.jsonl", tmp_path / "record.json"
    events.mkdir()
    with pytest.raises(IsADirectoryError):
        Recording(tmp_path, "first", EventBus()).__enter__()
    events.rmdir()
    with contextlib.suppress(IsADirectoryError), Recording(tmp_path, "second", EventBus()):
        kept.unlink()
        kept.mkdir()
    kept.rmdir()
    with Recording(tmp_path, "third", EventBus()):
        pass
    assert read_record(tmp_path).name == "third"


def test_records_are_kept_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with Recording(tmp_path, "first", EventBus()):
        pass
    assert read_record(tmp_path).name == "first"
    with pytest.raises(OSError, match=r"No locks available: '.*x\.lock'"):
        FileLock(tmp_path / "x.lock")


def test_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    path = RunRecord("x", usage=Usage(calls=3)).write(tmp_path)
    data = json.loads(path.read_text())
    data["colour"] = "red"
    data["usage"]["smells"] = 3
    path.write_text(json.dumps(data))
    assert read_record(path).usage == Usage(calls=3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("{", "cannot be read as JSON"),
        ("[]", "its schema is None"),
        ('{"schema": 99}', "its schema is 99"),
        ('{"schema": 1}', "not a run record"),
        ('{"schema": 1, "name": "x", "nodes": 5}', "not a run record"),
    ],
)
def test_what_is_no_record_is_said(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "record.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecordError, match=said) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
