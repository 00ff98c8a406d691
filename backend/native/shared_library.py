"""The built library, loaded into this process."""

import contextlib
import ctypes
import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.native.build import NoKernels, built, library_path, owned

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


def choose(native: bool | str, device: torch.device, dtype: torch.dtype) -> Library | None:
    """The kernels an engine is to use, None for torch alone.

    "auto" takes them if they are there, unless the environment says LAMPC_NATIVE=0. Raises NoKernels if they are
    demanded by True and cannot be had, ValueError for another value.
    """
    if native not in (True, False, "auto"):
        raise ValueError(f"native is {native!r}; choose True, False or 'auto'")
    if native is False or (native == "auto" and os.environ.get("LAMPC_NATIVE") == "0"):
        return None
    try:
        if device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
            raise NoKernels(f"native kernels compute float32 and bfloat16 on cpu, not {dtype} on {device}")
        return load()
    except NoKernels:
        if native is True:
            raise
        return None


@functools.cache
def load() -> Library:
    """The library that was built for this machine. Never builds.

    Raises NoKernels if there is none, or if it does not give the results that torch gives.
    """
    from lampc.backend.native.selftest import passes

    path = library_path()
    if not built(path):
        raise NoKernels(f"not built yet ({path}); python -m lampc.backend.native builds them")
    owned(path.parent.parent, path.parent, path)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        library = Library(path, digest, ctypes.CDLL(str(path)))
    except OSError as error:
        raise NoKernels(f"{path} cannot be loaded: {error}") from error
    if not passes(library):
        raise NoKernels(f"{path} gives wrong results on this machine; torch computes instead")
    with contextlib.suppress(OSError):
        os.utime(path)  # builds remove what was not used for long
    return library


def address(array: NDArray[Any]) -> int:
    """Where its values lie; several times faster than `array.ctypes.data`.

    What numpy says of an array of records names all their fields, which takes tens of microseconds.
    """
    if array.dtype.names is not None:
        array = array.view(np.uint8)
    found: int = array.__array_interface__["data"][0]
    return found
