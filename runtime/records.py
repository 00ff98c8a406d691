"""What a run leaves behind: a folder with `record.json` (what ran, how it ended, its counts) and `events.jsonl`.

    with Recording(Path("out/demo"), "demo", session.bus, model="firefly") as record:
        session.run(unit, rows)
        record.account(session.usage, session.usage_by_node, bound=session.bound())

Records are for people and tools; nothing is ever resumed from them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from lampc.runtime.events import DETAILS, EventBus, JsonlSink
from lampc.runtime.locks import FileLock, LockTaken
from lampc.runtime.types import Usage

SCHEMA = 1
RECORD_FILE = "record.json"
EVENTS_FILE = "events.jsonl"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class RecordError(Exception):
    """A run record cannot be read, or another run is recorded in its folder; the message names the file."""


@dataclass(slots=True)
class RunRecord:
    """One run. `status` is `running`, `done`, `failed` or `stopped`; a record that says `running` when nobody runs was
    killed. `bound` is the number of prompt tokens that the prefix tree of all prompts needs, None if not known.
    `nodes` has the usage of each predictor, `facts` whatever else is worth keeping (JSON values)."""

    name: str
    program: str = ""
    model: str = ""
    seed: int = 0
    started: float = 0.0
    seconds: float = 0.0
    status: str = "running"
    error: str = ""
    rows: int = 0
    errors: int = 0
    score: float | None = None
    usage: Usage = Usage()
    nodes: dict[str, Usage] = field(default_factory=dict)
    bound: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, str | int] = field(default_factory=dict)

    def account(self, usage: Usage, nodes: Mapping[str, Usage], *, bound: int | None = None) -> None:
        """Take the counts of a session."""
        self.usage, self.nodes, self.bound = usage, dict(nodes), bound

    def write(self, folder: Path) -> Path:
        """Write `record.json`, whole or not at all; gives its path."""
        path = folder / RECORD_FILE
        scratch = path.with_name(f".{RECORD_FILE}.{os.getpid()}")
        data = {"schema": SCHEMA, **asdict(self)}
        try:
            scratch.write_text(json.dumps(data, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
        return path


def read_record(path: Path) -> RunRecord:
    """The record in a run's folder, or in a file. Fields that a later version added are passed over.

    Raises RecordError for what is no record, or of a schema that this version does not know.
    """
    path = path / RECORD_FILE if path.is_dir() else path
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; a run writes it into its --out folder") from None
    except (OSError, ValueError) as e:
        raise RecordError(f"{path}: cannot be read as JSON: {e}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RecordError(f"{path}: not a run record of schema {SCHEMA} or before; its schema is {schema!r}")
    try:
        known = {f.name: data[f.name] for f in fields(RunRecord) if f.name in data}
        known["usage"] = _usage(known.get("usage", {}))
        known["nodes"] = {name: _usage(counts) for name, counts in known.get("nodes", {}).items()}
        return RunRecord(**known)
    except (TypeError, AttributeError) as e:
        raise RecordError(f"{path}: not a run record: {e}") from None


def _usage(counts: Mapping[str, Any]) -> Usage:
    return Usage(**{name: counts[name] for name in Usage.__slots__ if name in counts})


def machine() -> dict[str, str | int]:
    """What a run ran on: versions and processors. Says torch's version only where torch is loaded already."""
    out: dict[str, str | int] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count() or 0,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        out["torch"] = str(torch.__version__)
        out["threads"] = int(torch.get_num_threads())
    return out


class Recording:
    """Keeps the record of a run while it is entered: events as they come, `record.json` at the beginning and the end.

    Entering gives the `RunRecord`, to be filled. An exception is recorded (as `stopped` if it is an interrupt) and
    passed on. A run that ends without a call, since all was finished before or since it was refused, leaves an earlier
    record as it was. A folder takes one run at a time: entering raises RecordError while another one is recorded there.
    With `details` the events tell of each step of an engine and of the moves of requests, too.
    Emits `run.start` and `run.end`.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        bus: EventBus,
        *,
        program: str = "",
        model: str = "",
        seed: int = 0,
        details: bool = False,
    ) -> None:
        self.details = details
        self.folder = folder
        self.bus = bus
        self.record = RunRecord(name, program, model, seed)
        self._before = 0.0
        self._earlier = b""

    def __enter__(self) -> RunRecord:
        record = self.record
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            if (lock := self._locked()) is not None:
                undo.callback(lock.release)
            self._begin(record)
            self._undo = undo.pop_all()
        return record

    def _begin(self, record: RunRecord) -> None:
        record.started, self._before = time.time(), time.monotonic()
        record.machine = machine()
        with contextlib.suppress(OSError):
            self._earlier = (self.folder / RECORD_FILE).read_bytes()
        record.write(self.folder)
        self._sink = JsonlSink(self.folder / EVENTS_FILE, skip=() if self.details else DETAILS)
        self._off = self.bus.subscribe(self._sink, details=self.details)
        self._run, self.bus.run = self.bus.run, record.name
        self.bus.emit("run.start", name=record.name, program=record.program, model=record.model)

    def _locked(self) -> FileLock | None:
        """The folder's lock; None where the file system has none, as some network file systems."""
        try:
            return FileLock(self.folder / f"{RECORD_FILE}.lock")
        except LockTaken as e:
            raise RecordError(
                f"{self.folder}: {e.holder} records a run there; wait for it to end, or give this run another folder"
            ) from None
        except OSError as e:
            if e.errno in _NO_LOCKS:
                return None
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._undo:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        record = self.record
        record.seconds = round(time.monotonic() - self._before, 3)
        record.machine = machine()
        record.status = "done"
        if error is not None:
            record.status = "failed" if isinstance(error, Exception) else "stopped"
            record.error = f"{type(error).__name__}: {error}"
        end = {**asdict(record.usage), "seconds": record.seconds, "errors": record.errors, "score": record.score}
        self.bus.emit("run.end", name=record.name, error=record.error or None, **end)
        self.bus.run = self._run
        self._off()
        self._sink.close()
        if self._earlier and not record.usage.calls and record.status != "stopped":
            (self.folder / RECORD_FILE).write_bytes(self._earlier)
        else:
            record.write(self.folder)
