"""The call cache: answers by the content of their calls, in memory and, if asked for, on disk.

The disk tier is one SQLite database in write-ahead mode: any number of processes may use it at once, a killed one
loses at most what it was just writing, and no code is ever read back. Keys are digests of `CallKey`s, so what changes
an answer (model, prompt, sampling, draw, mode) changes the key. Nothing is created before the first answer is kept,
and no trouble with the disk ends a run: it is told once, and the cache goes on in memory.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lampc.ir.runner import find_runner
from lampc.runtime.models import Answer

logger = logging.getLogger("lampc")

FILE = "calls.sqlite"
DISK_LIMIT = 10_000_000_000
"""Bytes of the database, if not said otherwise."""
MEMORY_ENTRIES = 100_000
_LOOK = 64  # writes between two looks at the size
_FRESH = 60.0  # seconds in which a record is not marked as used again
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, record TEXT NOT NULL, used REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calls_by_use ON calls (used);
"""


def default_folder() -> Path:
    """Where the disk tier lies if no place is given: LAMPC_CACHE_DIR, else the user's cache folder."""
    if given := os.environ.get("LAMPC_CACHE_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lampc"


class DiskCache:
    """Records by key in `folder`, at most about `limit` bytes of them: what was not used for longest goes first.

    Safe from any number of threads and processes, and after a fork.
    """

    def __init__(self, folder: Path, limit: int = DISK_LIMIT) -> None:
        if limit < 1 << 16:
            raise ValueError(f"a cache on disk needs at least {1 << 16} bytes, not {limit}")
        self.folder, self.limit = folder, limit
        self._mutex = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._writes = 0
        self._broken = False

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def get(self, key: str) -> dict[str, Any] | None:
        """The record, or None: also if there is no database yet."""
        with self._guarded() as db:
            if db is None:
                return None
            row = db.execute("SELECT record, used FROM calls WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            now = time.time()
            if now - row[1] > _FRESH:
                db.execute("UPDATE calls SET used = ? WHERE key = ?", (now, key))
            try:
                record = json.loads(row[0])
            except ValueError:
                return None
            return record if isinstance(record, dict) else None
        return None

    def put(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record; it is on disk when this returns."""
        with self._guarded(create=True) as db:
            if db is None:
                return
            text = json.dumps(record, separators=(",", ":"))
            if len(text) > self.limit // 4:
                return
            db.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", (key, text, time.time()))
            self._writes += 1
            if self._writes % _LOOK == 1:
                self._shrink(db)

    def stats(self) -> dict[str, Any]:
        """Number of records, bytes used by them and by the file, age of the oldest use in seconds."""
        with self._guarded() as db:
            if db is None:
                return {"records": 0, "bytes": 0, "file_bytes": 0, "oldest_seconds": None}
            count, oldest = db.execute("SELECT COUNT(*), MIN(used) FROM calls").fetchone()
            size = sum(p.stat().st_size for p in self.folder.glob(f"{FILE}*"))
            age = None if oldest is None else max(0.0, time.time() - oldest)
            return {"records": count, "bytes": _used(db), "file_bytes": size, "oldest_seconds": age}
        return {"records": 0, "bytes": 0, "file_bytes": 0, "oldest_seconds": None}

    def clear(self) -> int:
        """Forget everything; gives how many records there were."""
        with self._guarded() as db:
            if db is None:
                return 0
            count = db.execute("DELETE FROM calls").rowcount
            _give_back(db)
            return int(count)
        return 0

    def close(self) -> None:
        with self._mutex:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    # -- inside ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _guarded(self, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        """The database under the lock; what goes wrong with it is told once and is no error."""
        with self._mutex:
            db = None
            try:
                db = None if self._broken else self._open(create)
            except (sqlite3.Error, OSError) as e:
                self._trouble(e)
            try:
                yield db
            except (sqlite3.Error, OSError) as e:
                self._trouble(e)

    def _open(self, create: bool) -> sqlite3.Connection | None:
        if self._db is not None and self._pid == os.getpid():
            return self._db
        if not create and not self.path.exists():
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=30.0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_SCHEMA)
        except BaseException:
            db.close()
            raise
        self._db, self._pid = db, os.getpid()
        return db

    def _shrink(self, db: sqlite3.Connection) -> None:
        if _used(db) <= self.limit:
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            while _used(db) > self.limit * 0.8:
                gone = db.execute(
                    "DELETE FROM calls WHERE key IN (SELECT key FROM calls ORDER BY used LIMIT "
                    "(SELECT 1 + COUNT(*) / 10 FROM calls))"
                ).rowcount
                if not gone:
                    break
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        _give_back(db)

    def _trouble(self, error: Exception) -> None:
        """A damaged database is moved aside and begun anew; else the disk is left alone from now on."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if damaged:
            aside = self.path.with_name(f"{FILE}.damaged")
            with contextlib.suppress(OSError):
                os.replace(self.path, aside)
                for rest in ("-wal", "-shm"):
                    Path(f"{self.path}{rest}").unlink(missing_ok=True)
                logger.warning("the call cache %s was damaged (%s); it is now %s, a new one is begun",
                               self.path, error, aside.name)  # fmt: skip
                return
        self._broken = True
        logger.warning("the call cache %s cannot be used (%s); calls are kept in memory only", self.path, error)


def _used(db: sqlite3.Connection) -> int:
    """Bytes of pages that hold something."""
    pages, free, size = (db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def _give_back(db: sqlite3.Connection) -> None:
    """Return free pages to the file system, as far as nobody else is in the way."""
    with contextlib.suppress(sqlite3.OperationalError):
        db.execute("PRAGMA incremental_vacuum").fetchall()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class CallCache:
    """Both tiers. `entries` bounds the memory tier (0: none); what was not used for longest goes first."""

    def __init__(self, disk: DiskCache | None = None, entries: int = MEMORY_ENTRIES) -> None:
        self.disk, self.entries = disk, entries
        self._memory: OrderedDict[str, Answer] = OrderedDict()
        self._mutex = threading.Lock()
        self.hits = self.misses = 0

    def get(self, key: str, memory_only: bool = False) -> Answer | None:
        """The answer of an earlier call, marked as stored."""
        with self._mutex:
            found = self._memory.get(key)
            if found is not None:
                self._memory.move_to_end(key)
                self.hits += 1
                return found
        record = self.disk.get(key) if self.disk is not None and not memory_only else None
        if record is not None:
            with contextlib.suppress(KeyError, TypeError):  # of another version: as if it were not there
                found = Answer.from_record(record)
                self._keep(key, found)
        with self._mutex:
            self.hits += found is not None
            self.misses += found is None
        return found

    def put(self, key: str, answer: Answer, memory_only: bool = False) -> None:
        """Keep an answer, `memory_only` if its key means something in this process alone."""
        kept = Answer.from_record(answer.record())
        self._keep(key, kept)
        if self.disk is not None and not memory_only:
            self.disk.put(key, answer.record())

    def _keep(self, key: str, answer: Answer) -> None:
        if self.entries <= 0:
            return
        with self._mutex:
            self._memory[key] = answer
            self._memory.move_to_end(key)
            while len(self._memory) > self.entries:
                self._memory.popitem(last=False)

    def __len__(self) -> int:
        return len(self._memory)

    def clear(self) -> None:
        """Forget the memory tier and the disk tier."""
        self.reset_memory_cache()
        if self.disk is not None:
            self.disk.clear()

    def reset_memory_cache(self) -> None:
        """Forget the memory tier."""
        with self._mutex:
            self._memory.clear()


_configured: list[CallCache | None] = [None]


def configure_cache(
    enable_disk_cache: bool = True,
    enable_memory_cache: bool = True,
    disk_cache_dir: str | Path | None = None,
    disk_size_limit_bytes: int | None = None,
    memory_max_entries: int | None = None,
    restrict_pickle: bool = True,
    safe_types: Any = None,
) -> CallCache:
    """Say where answers of calls are kept from now on, under DSPy's names; sessions of the user's own keep theirs.

    `disk_cache_dir` is by default LAMPC_CACHE_DIR or the user's cache folder. Nothing here is ever pickled, whatever
    `restrict_pickle` and `safe_types` say. Raises ValueError for limits that cannot be.
    """
    disk = None
    if enable_disk_cache:
        limit = DISK_LIMIT if disk_size_limit_bytes is None else int(disk_size_limit_bytes)
        disk = DiskCache(Path(disk_cache_dir) if disk_cache_dir is not None else default_folder(), limit)
    entries = MEMORY_ENTRIES if memory_max_entries is None else int(memory_max_entries)
    made = CallCache(disk, entries if enable_memory_cache else 0)
    _configured[0] = made
    runner = find_runner()
    session = getattr(runner, "_root", None)
    if session is not None and getattr(runner, "options", {}).get("cache") is None:
        session.desk.books.cache = made
    return made


def default_cache(memory: bool = True) -> CallCache | None:
    """The configured cache; else one on disk if LAMPC_CACHE_DIR is set; else one in memory, or None."""
    if _configured[0] is None and os.environ.get("LAMPC_CACHE_DIR"):
        configure_cache()
    if _configured[0] is not None:
        return _configured[0]
    return CallCache() if memory else None


def cache_in_force() -> CallCache:
    """The cache that the next call asks: `lampc.cache`. Of a session that keeps nothing, one that stays empty."""
    session = getattr(find_runner(), "_root", None)
    found: CallCache | None = session.desk.books.cache if session is not None else default_cache()
    return found if found is not None else CallCache(entries=0)


def forget_configuration() -> None:
    """Back to what holds without `configure_cache`."""
    if _configured[0] is not None and _configured[0].disk is not None:
        _configured[0].disk.close()
    _configured[0] = None
