"""The built library, loaded into this process."""

import ctypes
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lampc.backend.native.build import CannotBuild, library_path, private

POINTER = ctypes.c_void_p
SIZE = ctypes.c_int64
INT = ctypes.c_int
FLOAT = ctypes.c_float


@dataclass(frozen=True)
class Library:
    """`digest` names the machine code: equal digests give equal bits on equal CPUs."""

    path: Path
    digest: str
    _handle: ctypes.CDLL

    def function(self, name: str, *arguments: Any) -> Callable[..., None]:
        """An `extern "C"` function without result, by the ctypes of its arguments. It runs without Python's lock."""
        found = getattr(self._handle, name)
        found.argtypes, found.restype = arguments, None
        return found  # type: ignore[no-any-return]


@functools.cache
def load() -> Library | None:
    """The library if it was built and gives right results here, else None; never builds."""
    from lampc.backend.native.selftest import passes

    try:
        path = library_path()
        if not path.is_file():
            return None
        private(path.parent)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        library = Library(path, digest, ctypes.CDLL(str(path)))
    except (CannotBuild, OSError):
        return None
    return library if passes(library) else None
