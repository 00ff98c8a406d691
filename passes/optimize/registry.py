"""Optimizers by the names that source files use."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from lampc.passes.optimize.bootstrap import BootstrapFewShot
from lampc.passes.optimize.instructions import InstructionSearch
from lampc.passes.optimize.labeled import LabeledFewShot
from lampc.passes.optimize.parameters import ParameterSearch
from lampc.passes.optimize.protocol import OptimizeError, Strategy
from lampc.passes.optimize.random_demos import RandomDemos

OPTIMIZERS: dict[str, type[Strategy]] = {
    c.name: c for c in (BootstrapFewShot, InstructionSearch, LabeledFewShot, ParameterSearch, RandomDemos)
}
"""Strategy class by name."""

_HIDDEN = ("base",)  # set by the runtime, not by source files


def optimizer(name: str, args: Mapping[str, Any], base: Path = Path(".")) -> Strategy:
    """The strategy `name` with the given options. Raises OptimizeError naming what is unknown or mistyped."""
    cls = OPTIMIZERS.get(name)
    if cls is None:
        raise OptimizeError(_unknown(f"there is no optimizer `{name}`", name, OPTIMIZERS))
    hints = get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.name not in _HIDDEN]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in args.items():
        if key not in known:
            raise OptimizeError(_unknown(f"{name} has no argument `{key}`", key, known))
        values[key] = _typed(name, key, value, hints[key])
    if "base" in hints:
        values["base"] = base
    made: Strategy = cls(**values)
    return made


def optimizers(
    steps: Iterable[tuple[str, Mapping[str, Any] | Iterable[tuple[str, Any]]]], base: Path = Path(".")
) -> tuple[Strategy, ...]:
    """The strategies of an `optimize ... with a(x: 1), b(...)` declaration. Raises OptimizeError."""
    return tuple(optimizer(name, dict(args), base) for name, args in steps)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    guess = f" (did you mean `{near[0]}`?)" if near else ""
    return f"{what}{guess}; known: {', '.join(sorted(known))}"


def _typed(name: str, key: str, value: Any, hint: Any) -> Any:
    """`value` for an option of type `hint`. Raises OptimizeError."""
    if hint is int and isinstance(value, float) and value == int(value):
        value = int(value)
    if hint == tuple[str, ...]:
        value = (value,) if isinstance(value, str) else tuple(value)
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(hint)
    ok = {
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, int | float) and not isinstance(value, bool),
        bool: isinstance(value, bool),
        str: isinstance(value, str),
    }.get(hint, True)
    if not ok:
        raise OptimizeError(f"{name}: `{key}` is {wanted}, got {value!r}")
    return value
