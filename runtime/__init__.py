"""Compiles and runs: sessions, executor, evaluation, optimisation, providers, pictures and the command line.

`Session` is the door: it holds models, journal and events, and runs programs over tables of cells.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "lampc.runtime":
    raise ImportError("import lampc.runtime, not runtime")

if TYPE_CHECKING:
    from lampc.runtime.events import Event, EventBus
    from lampc.runtime.interp import interpret
    from lampc.runtime.session import Session
    from lampc.runtime.store import Store
    from lampc.runtime.types import Cell, Outcome, Row, RowError, TraceStep, Usage

_HOMES = {
    "Cell": "types",
    "Event": "events",
    "EventBus": "events",
    "Outcome": "types",
    "Row": "types",
    "RowError": "types",
    "Session": "session",
    "Store": "store",
    "TraceStep": "types",
    "Usage": "types",
    "interpret": "interp",
}

__all__ = [
    "Cell",
    "Event",
    "EventBus",
    "Outcome",
    "Row",
    "RowError",
    "Session",
    "Store",
    "TraceStep",
    "Usage",
    "interpret",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
