"""A long array of numbers in a temporary file: pages of it are in memory as the system sees fit, not for good."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from struct import Struct
from typing import IO

_WORD = Struct("=Q")


class Column:
    """Whole numbers of 64 bits by place, 0 where none was put. Raises OSError where there is no room."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: int) -> int:
        if self._map is None or not 0 <= at < self._count:
            return 0
        found: int = _WORD.unpack_from(self._map, at * _WORD.size)[0]
        return found

    def __setitem__(self, at: int, value: int) -> None:
        if at >= self._count:
            self._count = at + 1
            if self._map is None or self._count * _WORD.size > len(self._map):
                self._grow()
        assert self._map is not None
        _WORD.pack_into(self._map, at * _WORD.size, value)

    def __iter__(self) -> Iterator[int]:
        return (self[at] for at in range(self._count))

    def _grow(self) -> None:
        size = max(mmap.PAGESIZE, 1 << (self._count * _WORD.size - 1).bit_length())
        if self._map is not None:
            self._map.close()
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (`close` ends it)
        self._file.truncate(size)
        self._map = mmap.mmap(self._file.fileno(), size)

    def close(self) -> None:
        """Give the file back. Twice is fine."""
        if self._map is not None:
            self._map.close()
        if self._file is not None:
            self._file.close()
        self._map = self._file = None
        self._count = 0
