"""A file lock that ends with its process: one writer per store or run folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path

_mutex = threading.Lock()
_own: dict[tuple[int, int], int] = {}
"""Locks that this process holds, by device and inode: the process that took them."""


class LockTaken(Exception):
    """Somebody else holds the lock; `pid` is theirs, or 0 if it cannot be read: this process's, if it has it itself."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"{path}: held by process {pid}" if pid else f"{path}: held by another process")
        self.path = path
        self.pid = pid

    @property
    def holder(self) -> str:
        """Who has it, for messages."""
        if self.pid == os.getpid():
            return "this process itself, in another thread or a session that is open"
        return f"process {self.pid}" if self.pid else "another process"


class FileLock:
    """An exclusive lock (flock) on a file, taken on creation. The file names the holder and stays behind.

    The kernel frees the lock when the process ends, however it ends. Raises LockTaken, or OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        status = os.fstat(self._fd)
        self._key = status.st_dev, status.st_ino
        self._has = False
        try:
            with _mutex:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _own[self._key], self._has = os.getpid(), True
        except BlockingIOError:
            with _mutex:
                ours = _own.get(self._key) == os.getpid()
            pid = os.getpid() if ours else self._holder()
            self.release()
            raise LockTaken(path, pid) from None
        except OSError as e:
            self.release()
            raise OSError(e.errno, e.strerror, str(path)) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode("ascii"), 0)

    def _holder(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(os.pread(self._fd, 32, 0))
        return 0

    def release(self) -> None:
        """Let go; twice is fine."""
        if self._fd >= 0:
            with _mutex:
                if self._has:
                    _own.pop(self._key, None)
                os.close(self._fd)
            self._fd = -1
