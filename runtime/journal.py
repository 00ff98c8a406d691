"""The record of an optimisation: what it was, how far it is, what it gave.

Its calls and runs are in the store already, each under its own key. The journal adds one record of kind `run`
when all is finished, so that starting again says so, and a readable `run.json` that is kept up to date.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lampc.ir import Assignment, CompileError, freeze, parse_module, thaw
from lampc.ir.text import print_attr
from lampc.ir.unit import Unit
from lampc.passes.optimize import Candidate
from lampc.runtime.saved import save
from lampc.runtime.store import Store
from lampc.runtime.types import Usage

FOUND_FILE = "found.lampc"
"""The program as it was found, with the parameters that the run started from: beside `run.json`."""
UNFINISHED, STOPPED, FINISHED = "unfinished", "stopped", "finished"


@dataclass(slots=True)
class Journal:
    """`run` identifies the work; `about` describes it; `file` is where `run.json` goes (nowhere if None)."""

    store: Store
    run: str
    about: Mapping[str, Any]
    file: Path | None = None
    _started: float = field(default_factory=time.time)
    _noted: float = 0.0
    _took: float = 0.0

    def finished(self) -> dict[str, Any] | None:
        """The record of the finished run, if this work was done before."""
        return self.store.get("run", self.run)

    def keep_found(self, unit: Unit, start: Assignment) -> None:
        """The program as it was found, beside `run.json`; one that cannot be saved (a closure) is not kept."""
        if self.file is not None:
            with contextlib.suppress(CompileError):
                save(self.file.with_name(FOUND_FILE), unit, start)

    def told(self) -> bool:
        """Whether `run.json` is about this work, not about another that was done in the same folder."""
        if self.file is None:
            return True
        try:
            return bool(json.loads(self.file.read_text(encoding="utf-8"))["run"] == self.run)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def due(self) -> bool:
        """Whether an unfinished run is to be noted now: at most twice a second, and a twentieth of the time."""
        return self.file is not None and time.time() >= self._noted + max(0.5, 20 * self._took)

    def note(self, state: str, *, ended: bool = False, **facts: Any) -> None:
        """Bring `run.json` up to date (written whole or not at all); of an unfinished run only if it is `due`, unless
        it has ended."""
        if self.file is None or (state == UNFINISHED and not ended and not self.due()):
            return
        began = time.time()
        times = {"started": round(self._started, 3), "updated": round(time.time(), 3)}
        record = {"run": self.run, "state": state, **self.about, **times, **facts}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        _write(self.file, _readable(record).encode())
        self._noted = time.time()
        self._took = self._noted - began

    def earlier(self) -> dict[Path, bytes]:
        """The files of the run that was recorded here before, by name."""
        files = () if self.file is None else (self.file, self.file.with_name(FOUND_FILE))
        return {f: f.read_bytes() for f in files if f.is_file()}

    def withdraw(self, earlier: Mapping[Path, bytes]) -> None:
        """A run that came to nothing leaves the record of the earlier one as it was."""
        for file, content in earlier.items():
            _write(file, content)

    def finish(self, keep: bool = True, **facts: Any) -> None:
        """The run is finished: if it is to be kept, starting it again gives `facts` from now on."""
        if keep:
            self.store.put_first("run", self.run, facts)
        self.note(FINISHED, **facts)


@contextlib.contextmanager
def begun(file: Path | None, program: str | None) -> Iterator[bool]:
    """While a run is set up, which opens its models, `file` says that there is one, where it tells of no earlier run;
    then this gives true. What refuses to begin leaves nothing."""
    if file is None or file.exists():
        yield False
        return
    record = {"run": "", "state": UNFINISHED, "program": program, "started": round(time.time(), 3)}
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, _readable(record).encode())
    try:
        yield True
    except Exception:
        file.unlink(missing_ok=True)
        raise


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all."""
    scratch = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    scratch.write_bytes(content)
    os.replace(scratch, file)


def _readable(record: Mapping[str, Any]) -> str:
    """JSON for people: indented, but each trial, with its rows, on a line of its own."""
    text = json.dumps({k: v for k, v in record.items() if k != "trials"}, indent=2, ensure_ascii=False)
    trials = [f"    {json.dumps(t, ensure_ascii=False)}" for t in record.get("trials", ())]
    if trials:
        text = text.removesuffix("\n}") + ',\n  "trials": [\n' + ",\n".join(trials) + "\n  ]\n}"
    return text + "\n"


def assignment_text(assignment: Assignment) -> str:
    """A candidate as IR text."""
    return print_attr(assignment)


def read_assignment(text: str) -> Assignment:
    """The candidate that `assignment_text` wrote. Raises CompileError."""
    found = parse_module(f"module @candidate {{value = {text}}} {{\n}}\n").attrs["value"]
    assert isinstance(found, Assignment)
    return found


def history_record(
    history: Sequence[Candidate], identity: Callable[[Assignment], str] | None = None
) -> list[dict[str, Any]]:
    """As JSON has it; with `identity` each says which candidate of the trials it is."""
    return [
        {
            **({} if identity is None else {"candidate": identity(c.assignment)}),
            "step": c.step,
            "note": c.note,
            "score": c.score,
            "rows": c.rows,
            "tokens": c.tokens,
            "parents": list(c.parents),
            "facts": thaw(c.facts),
            "assignment": assignment_text(c.assignment),
        }
        for c in history
    ]


def read_history(records: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    return [
        Candidate(
            read_assignment(r["assignment"]),
            r["step"],
            r["note"],
            r["score"],
            r.get("rows", 0),
            r.get("tokens"),
            tuple(r.get("parents", ())),
            freeze(r.get("facts", {})),
        )
        for r in records
    ]


def usage_record(usage: Usage) -> dict[str, Any]:
    return {n: getattr(usage, n) for n in Usage.__slots__}
