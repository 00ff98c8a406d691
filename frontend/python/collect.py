"""What a file declares while it is loaded, in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_open: ContextVar[list[Any] | None] = ContextVar("lampc_declarations", default=None)


def declared(thing: Any) -> None:
    """Note a declaration if a file is being loaded."""
    found = _open.get()
    if found is not None:
        found.append(thing)


@contextmanager
def collecting() -> Iterator[list[Any]]:
    """Collect the declarations made inside."""
    out: list[Any] = []
    token = _open.set(out)
    try:
        yield out
    finally:
        _open.reset(token)
