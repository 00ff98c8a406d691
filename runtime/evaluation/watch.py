"""Finding out whether code asks a model, by letting it run until it does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from lampc.ir.runner import current_runner


class AsksModel(BaseException):
    """Raised where watched code asks for a model, a tool or passages; no Exception, so that code does not catch it."""


class _Watch:
    """Stands in for the runner."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AsksModel


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Inside of the block, whatever asks for a runner raises AsksModel."""
    token = current_runner.set(_Watch())
    try:
        yield
    finally:
        current_runner.reset(token)
