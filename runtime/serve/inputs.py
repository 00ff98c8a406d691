"""Where in a program's inputs a value is none of its type."""

from __future__ import annotations

from typing import Any

from lampc.ir.hostvalues import is_default
from lampc.ir.types import ListOf, MapOf, Maybe, Record, Type, left_out, mismatch
from lampc.runtime.serve.reading import place

Place = tuple[int | str, ...]


def wrong_place(value: Any, wanted: Type, at: Place) -> tuple[str, str] | None:
    """The innermost place in a value that is at `at`, and why it is wrong there; None if nothing is."""
    why = mismatch(value, wanted)
    if why is None:
        return None
    inner: list[tuple[Any, Type, Place]] = []
    match wanted:
        case Maybe(item):
            inner = [(value, item, at)]
        case ListOf(item) if isinstance(value, list):
            inner = [(v, item, (*at, i)) for i, v in enumerate(value)]
        case MapOf(item) if isinstance(value, dict):
            inner = [(v, item, (*at, k)) for k, v in value.items()]
        case Record(fields, host) if isinstance(value, dict):
            optional = left_out(wanted)
            missing = next((n for n, _ in fields if n not in value and n not in optional), None)
            if missing is not None:
                return place((*at, missing)), f"it is missing; wanted: {dict(fields)[missing]}"
            inner = [(value[n], t, (*at, n)) for n, t in fields if n in value and not is_default(host, n, value[n])]
    found = next((f for v, t, p in inner if (f := wrong_place(v, t, p)) is not None), None)
    return found or (place(at), f"{why}; wanted: {wanted}")
