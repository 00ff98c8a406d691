"""A file lock that ends with its process: one writer per store or run folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class LockTaken(Exception):
    """Somebody else holds the lock; `pid` is theirs, or 0 if it cannot be read."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"{path}: held by process {pid}" if pid else f"{path}: held by another process")
        self.path = path
        self.pid = pid


class FileLock:
    """An exclusive lock (flock) on a file, taken on creation. The file names the holder and stays behind.

    The kernel frees the lock when the process ends, however it ends. Raises LockTaken, or OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = self._holder()
            self.release()
            raise LockTaken(path, pid) from None
        except OSError:
            self.release()
            raise
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode("ascii"), 0)

    def _holder(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(os.pread(self._fd, 32, 0))
        return 0

    def release(self) -> None:
        """Let go; twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
