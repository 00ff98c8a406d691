"""One content-addressed, crash-safe store: finished calls, jobs, tool results and runs, by kind and key.

A store is one append-only text file. Each line is a JSON list `[kind, key, record, checksum]`; the checksum
is BLAKE2b (8 bytes, hex) of the line's text before it. A record is on disk (written, not buffered) when `put`
returns, so whatever a killed process had put is there afterwards; `fsync` follows at intervals and on close,
for the case that the machine itself goes down. Records are read back lazily: memory holds keys and offsets.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lampc.runtime.locks import FileLock, LockTaken

FORMAT = 1
MAX_RECORD = (1 << 24) - 1
"""Longest line in bytes, checksum and line end included."""
_LENGTH_BITS = 24
_HEAD = re.compile(rb'\["((?:[^"\\]|\\.)*)","((?:[^"\\]|\\.)*)",')
_TAIL = len(b',"0123456789abcdef"]\n')
_BATCH = 1 << 20  # bytes per write of put_many


class StoreError(Exception):
    """A store cannot be opened, read or written; the message names the file."""


class Store:
    """See the module's text. `path` None keeps everything in memory. One writer per file, by a lock beside it.

    `recovered` counts the damaged pieces (a torn last line, a line whose checksum is wrong) that were found
    and left out on opening. Safe to use from several threads, not after a fork. Raises StoreError.
    """

    def __init__(self, path: Path | None = None, *, sync_seconds: float = 1.0) -> None:
        self.path = path
        self.recovered = 0
        self._mutex = threading.RLock()
        self._index: dict[str, dict[str, int]] = {}  # kind -> key -> offset and length in one number
        self._memory: dict[int, bytes] = {}
        self._end = 0
        self._pid = os.getpid()
        self._sync_seconds = sync_seconds
        self._synced = time.monotonic()
        self._fd = -1
        self._dirty = False
        self._lock: FileLock | None = None
        self._closed = False
        if path is not None:
            self._open(path)

    # -- reading ------------------------------------------------------------------------------------

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """The record, freshly read, or None."""
        with self._mutex:
            spot = self._index.get(kind, {}).get(key)
            if spot is None:
                return None
            self._check_open()
            line = self._memory[spot] if self.path is None else self._read(spot)
        if not _intact(line):
            raise StoreError(f"{self.path}: the record of {kind} {key} changed on disk; close the store, open it again")
        record: dict[str, Any] = json.loads(line)[2]
        return record

    def __contains__(self, item: tuple[str, str]) -> bool:
        kind, key = item
        return key in self._index.get(kind, ())

    def __len__(self) -> int:
        return sum(map(len, self._index.values()))

    def count(self, kind: str) -> int:
        """How many records of this kind there are."""
        return len(self._index.get(kind, ()))

    def keys(self, kind: str) -> list[str]:
        """Keys of this kind, in the order in which they were put."""
        with self._mutex:
            return list(self._index.get(kind, ()))

    # -- writing ------------------------------------------------------------------------------------

    def put(self, kind: str, key: str, record: dict[str, Any]) -> None:
        """Keep a record (JSON values; tuples come back as lists). It is written when this returns.

        A key that is there with an equal record is left alone; with another one, StoreError: keys stand for
        content. Raises StoreError for what is not JSON, is too long, or cannot be written.
        """
        self.put_many([(kind, key, record)])

    def put_first(self, kind: str, key: str, record: dict[str, Any]) -> None:
        """The same for records that two who do the same work at a time need not make alike (counts, seconds): the first
        one stays."""
        with self._mutex:
            if (kind, key) not in self:
                self.put(kind, key, record)

    def put_many(self, items: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """Keep several records with few writes. A crash half way leaves the first ones, whole."""
        with self._mutex:
            self._check_open()
            batch: list[tuple[str, str, bytes]] = []
            fresh: dict[tuple[str, str], bytes] = {}
            size = 0
            for kind, key, record in items:
                line = self._encode(kind, key, record)
                known = fresh.get((kind, key))
                if known is None and (kind, key) in self:
                    self._same(kind, key, self.get(kind, key), record)
                    continue
                if known is not None:
                    self._same(kind, key, json.loads(known)[2], record)
                    continue
                fresh[kind, key] = line
                batch.append((kind, key, line))
                size += len(line)
                if size >= _BATCH:
                    self._append(batch)
                    batch, fresh, size = [], {}, 0
            self._append(batch)

    def sync(self) -> None:
        """Wait until the disk itself has everything."""
        with self._mutex:
            if self._dirty:
                os.fsync(self._fd)
                self._dirty = False
            self._synced = time.monotonic()

    def close(self) -> None:
        """Sync and let the file go; closing twice is fine. A memory store stays readable."""
        with self._mutex:
            if self._closed or self.path is None:
                return
            self._closed = True
            try:
                if self._pid == os.getpid():
                    self.sync()
            finally:
                os.close(self._fd)
                self._fd = -1
                if self._lock is not None:
                    self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({str(self.path) if self.path else 'memory'}, {len(self)} records)"

    # -- inside ---------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        if self._pid != os.getpid():
            raise StoreError(f"{self.path}: the store belongs to process {self._pid}, of which this one is a fork")

    def _encode(self, kind: str, key: str, record: dict[str, Any]) -> bytes:
        try:
            body = json.dumps([kind, key, record], separators=(",", ":"))[:-1].encode("ascii")
        except (TypeError, ValueError, RecursionError) as e:
            raise StoreError(f"the record of {kind} {key} is not JSON: {e}") from None
        line = body + b',"' + _checksum(body) + b'"]\n'
        if len(line) > MAX_RECORD:
            raise StoreError(f"the record of {kind} {key} takes {len(line)} bytes; {MAX_RECORD} is the most")
        return line

    def _same(self, kind: str, key: str, old: Any, new: Any) -> None:
        if json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True):
            raise StoreError(f"{self.path or 'store'}: {kind} {key} is there already, with other content")

    def _append(self, batch: list[tuple[str, str, bytes]]) -> None:
        if not batch:
            return
        if self.path is not None:
            self._end = os.fstat(self._fd).st_size  # an interrupt may have come between a write and its account
            self._write(b"".join(line for _, _, line in batch))
        for kind, key, line in batch:
            spot = self._end << _LENGTH_BITS | len(line)
            self._index.setdefault(kind, {})[key] = spot
            if self.path is None:
                self._memory[spot] = line
            self._end += len(line)
        if self.path is not None and time.monotonic() - self._synced >= self._sync_seconds:
            self.sync()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        self._dirty = True
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except BaseException as e:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)  # no half line may stand before the next one
            if not isinstance(e, OSError):
                raise
            raise StoreError(f"{self.path}: cannot write: {e.strerror}; what was put before is safe") from None

    def _read(self, spot: int) -> bytes:
        return os.pread(self._fd, spot & MAX_RECORD, spot >> _LENGTH_BITS)

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = lock_of(path)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            with open(path, "rb") as file:
                self._scan(file)
            if os.fstat(self._fd).st_size != self._end:
                os.ftruncate(self._fd, self._end)
            if not self._end:
                self._begin()
        except BaseException as e:
            if self._fd >= 0:
                os.close(self._fd)
            if self._lock is not None:
                self._lock.release()
            self._closed = True
            if isinstance(e, OSError):
                raise StoreError(f"{path}: cannot open the store: {e.strerror}") from None
            raise

    def _begin(self) -> None:
        assert self.path is not None
        self._write(_header())
        self._end = len(_header())
        self.sync()
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _scan(self, file: BinaryIO) -> None:
        """Fill the index; `_end` is where the last whole record ends."""
        header = file.readline(len(_header()))
        if header != _header():
            if header and not _header().startswith(header):
                raise StoreError(f"{self.path}: not a store of this version; move it away or give another path")
            self.recovered += bool(header)
            return
        offset = self._end = len(header)
        broken = 0
        for line in _lines(file):
            match = _HEAD.match(line) if _intact(line) else None
            if match is None:
                broken += 1
            else:
                kind, key = (json.loads(b'"' + part + b'"') for part in match.groups())
                self._index.setdefault(kind, {}).setdefault(key, offset << _LENGTH_BITS | len(line))
                self._end = offset + len(line)
            offset = file.tell()
        self.recovered += broken


def lock_of(path: Path) -> FileLock:
    """The lock of the store at `path`, taken. Raises StoreError if somebody has it, OSError."""
    try:
        return FileLock(path.with_name(path.name + ".lock"))
    except LockTaken as e:
        raise StoreError(f"{path}: in use by {e.holder}; wait for it to end, or give this run another folder") from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a file; of one that is too long to be a record only the beginning."""
    while line := file.readline(MAX_RECORD + 1):
        piece = line
        while piece and not piece.endswith(b"\n"):
            piece = file.readline(MAX_RECORD + 1)
        yield line


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=8).hexdigest().encode("ascii")


def _intact(line: bytes) -> bool:
    return line.endswith(b'"]\n') and line[-_TAIL:-3] == b',"' + _checksum(line[:-_TAIL])


def _header() -> bytes:
    body = f'["lampc-store",{FORMAT}'.encode("ascii")
    return body + b',"' + _checksum(body) + b'"]\n'
