"""Limits of values: the constraints of a field (`ge = 0, max_length = 3`), checked on plain JSON values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

LIMITS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "gt": (lambda v, x: v > x, "greater than {}"),
    "ge": (lambda v, x: v >= x, "at least {}"),
    "lt": (lambda v, x: v < x, "less than {}"),
    "le": (lambda v, x: v <= x, "at most {}"),
    "multiple_of": (lambda v, x: _multiple(v, x), "a multiple of {}"),
    "allow_inf_nan": (lambda v, x: bool(x) or math.isfinite(v), "a finite number"),
    "min_length": (lambda v, x: len(v) >= x, "at least {} long"),
    "max_length": (lambda v, x: len(v) <= x, "at most {} long"),
    "pattern": (lambda v, x: re.search(x, v) is not None, "of the pattern {}"),
}
"""What limits there are: whether (value, bound) holds, and how the demand reads."""

_OF_NUMBERS = frozenset({"gt", "ge", "lt", "le", "multiple_of", "allow_inf_nan"})


def beyond(value: Any, limits: Mapping[str, Any]) -> str | None:
    """Why a value breaks a limit, or None. A limit that is not about values of its kind holds (`None` breaks none)."""
    for name, bound in limits.items():
        holds, demand = LIMITS[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in _OF_NUMBERS:
            fits = number
        else:
            fits = isinstance(value, str) or (name != "pattern" and isinstance(value, list | dict))
        if fits and not holds(value, bound):
            length = f", which is {len(value)} long" if name.endswith("length") else ""
            return f"must be {demand.format(bound)}, got {value!r}{length}"
    return None


def _multiple(value: float, step: float) -> bool:
    """Whether `value` is a whole number of steps, floats up to rounding."""
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    ratio = value / step
    return math.isfinite(ratio) and abs(ratio - round(ratio)) <= 1e-9 * max(1.0, abs(ratio))
