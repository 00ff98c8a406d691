"""The output file of a batch: one JSON line per finished request, and thereby the record of what is finished.

A line is appended as soon as its request is done. A process that was killed leaves at most one torn line, at the
end, a machine that lost its power zeros instead; both are cut off when the file is opened again. Nothing else is ever
changed, but a file that is complete is written anew, into another file (`.tmp`) that then takes its place, if its
lines are to be put in order or if an error in it was mended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

from lampc.runtime.batch.column import Column

_START = '{"line": '
_MOST_LINES = 1 << 32
_FAILED = 1 << 63  # beside the key of a line that holds an error
_LATE = 1 << 62  # beside that of a line of which something ended by its timeout


class BatchError(Exception):
    """A batch cannot go on: names the file, and how to mend it."""


class Results:
    """The output file, held open and locked.

    `retry`: lines whose result is an error, or was cut short by a timeout, count as not finished. `every` is the
    longest time in seconds between two syncs to disk. Raises BatchError if the file is not one of ours or another
    process writes it, and OSError. Per line of an earlier run it holds 8 bytes in a temporary file, nothing in memory.
    """

    def __init__(
        self,
        path: Path,
        *,
        retry: bool = False,
        every: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._scratch = path.with_name(f"{path.name}.tmp")  # under the same lock
        self._retry, self._every, self._clock = retry, every, clock
        self._known = Column()  # by line number: key of the last record of an earlier run, 0 for none
        self._mended = False
        self._fd = _locked(path)
        try:
            self._scratch.unlink(missing_ok=True)  # of a process that was killed at the very end
            self._read()
        except BaseException:
            self.close()
            raise
        self._synced = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def last(self) -> int:
        """The largest line number that an earlier run finished, 0 if none."""
        return len(self._known) - 1 if self._known else 0

    def finished(self, number: int, key: str) -> Literal["", "done", "failed"]:
        """Whether an earlier run finished this line, and how. Raises BatchError if another request has its place."""
        held = self._known[number]
        if not held:
            return ""
        if held & ~(_FAILED | _LATE) == _number(key):
            if self._retry and held & (_FAILED | _LATE):
                return ""
            return "failed" if held & _FAILED else "done"
        if held & _FAILED:
            return ""  # the line was wrong and is another one now
        raise BatchError(
            f"{self.path}: holds the result of another line {number}: input, model, options or kernels have changed; "
            "give another --out, or start over with --fresh"
        )

    def add(self, number: int, key: str, record: dict[str, Any]) -> None:
        """Appends the result of a line. It survives the end of this process at once, of the machine soon."""
        whole = {"line": number, **record, "key": key}
        try:
            data = json.dumps(whole, ensure_ascii=False).encode() + b"\n"
        except UnicodeEncodeError:  # half a surrogate pair, which only an escape can carry
            data = json.dumps(whole).encode() + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]
        self._mended |= self._known[number] != 0
        now = self._clock()
        if now - self._synced >= self._every:
            self.sync()
            self._synced = now

    def sync(self) -> None:
        """To the disk."""
        os.fsync(self._fd)

    def clear(self) -> None:
        """Forgets everything."""
        os.ftruncate(self._fd, 0)
        self._known.close()
        self._known, self._mended = Column(), False

    def finish(self, *, ordered: bool) -> None:
        """All is done: brings the lines into order if that is wanted, each once."""
        self.sync()
        if not ordered and not self._mended:
            return
        with contextlib.closing(Column()) as places, self.path.open("rb") as file:
            rising, last = True, 0
            for number, at, _ in _numbered(file):
                places[number] = at + 1  # the last record of a line counts
                rising, last = rising and number > last, number
            if rising and not self._mended:
                return
            file.seek(0)
            try:
                with self._scratch.open("wb") as out:
                    if ordered:
                        for place in filter(None, places):
                            file.seek(place - 1)
                            out.write(file.readline())
                    else:
                        out.writelines(raw for number, at, raw in _numbered(file) if places[number] == at + 1)
                    out.flush()
                    os.fsync(out.fileno())
                os.replace(self._scratch, self.path)
            finally:
                self._scratch.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets the file go. Twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._known.close()

    def _read(self) -> None:
        """Learns what is finished; cuts off a torn end."""
        at = 0
        with self.path.open("rb") as file:
            for count, raw in enumerate(file, 1):
                body = raw.rstrip(b"\0")  # zeros stand where the disk knows of a length and has no data yet
                record = _record(body)
                if record is None and not raw.endswith(b"\n") and _torn(body):
                    os.ftruncate(self._fd, at)
                    return
                if record is None:
                    raise BatchError(
                        f"{self.path}:{count}: not written by lampc batch, so it is left alone; give another --out"
                    )
                number, key, flags = record
                self._mended |= self._known[number] != 0
                self._known[number] = _number(key) | flags
                at += len(raw)
                if not raw.endswith(b"\n"):
                    os.ftruncate(self._fd, at - len(raw) + len(body))
                    os.write(self._fd, b"\n")
                    return


def _locked(path: Path) -> int:
    """The file, opened to be appended to and locked. Raises BatchError if another process has it, and OSError."""
    while True:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):  # a pipe would not end, a device might never
            raise BatchError(f"{path}: not a file; what is finished is read from it again, so give one with --out")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = _same(fd, path)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                raise BatchError(f"{path}: another process writes this file; wait for it, or give another") from None
            raise
        if same:
            return fd
        os.close(fd)  # who had it put another file in its place meanwhile: that one is wanted


def _same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _record(raw: bytes) -> tuple[int, str, int] | None:
    """Line number, key and flags (`_FAILED`, `_LATE`) of a line of ours; None for any other."""
    try:
        fields = json.loads(raw)
        number, key = fields["line"], fields["key"]
        if type(number) is int and 0 < number < _MOST_LINES and isinstance(key, str) and len(key) == 16:
            int(key, 16)
            late = any(c["finish"] == "timeout" for c in fields.get("completions", [fields]) if "finish" in c)
            return number, key, _FAILED if "error" in fields else _LATE if late else 0
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None


def _torn(raw: bytes) -> bool:
    """Whether this may be the beginning of a line of ours."""
    start = _START.encode()
    try:
        json.loads(raw)
    except ValueError:
        return raw[: len(start)] == start[: len(raw)]
    return False


def _number(key: str) -> int:
    return int(key, 16) & ~(_FAILED | _LATE) or 1


def _numbered(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """(line number, where it starts, the record) of each record of ours, from the file's beginning."""
    at = 0
    for raw in file:
        yield json.loads(raw)["line"], at, raw
        at += len(raw)
