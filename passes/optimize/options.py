"""Options of strategies as source files and command lines give them: plain values, checked against types.

A strategy is a dataclass, and its fields are its options; what a field's type allows is read from its annotation.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

HIDDEN = ("base", "drawn_from", "program_code")
"""Fields that the runtime sets, not source files."""
_SCALARS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a file's name"}


class Misfit(Exception):
    """A value does not fit an option: what is wanted, and perhaps a guess at what was meant."""

    def __init__(self, wanted: str, help: str = "") -> None:
        super().__init__(wanted)
        self.wanted, self.help = wanted, help


@dataclass(frozen=True, slots=True)
class Option:
    """A field of a strategy: its type, and its default (`required` if it has none)."""

    name: str
    type: Any
    default: Any = None
    required: bool = False


def options(cls: type[Any]) -> dict[str, Option]:
    """The options of a strategy class, by name, in order."""
    hints = get_type_hints(cls)
    out: dict[str, Option] = {}
    for f in dataclasses.fields(cls):
        if f.name in HIDDEN or not f.init:
            continue
        made = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        missing = made is dataclasses.MISSING
        out[f.name] = Option(f.name, hints[f.name], None if missing else made, missing)
    return out


def fitted(value: Any, wanted: Any) -> Any:
    """`value` as an option of type `wanted` holds it: whole floats as ints, lists as tuples, one text as a list of
    it. Raises Misfit."""
    if wanted is Any:
        return value
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return _one_of(value, get_args(wanted), wanted)
    if origin is Literal:
        if value in get_args(wanted):
            return value
        raise Misfit(said(wanted), near(value, get_args(wanted)))
    if wanted is type(None):
        if value is None:
            return None
        raise Misfit("null")
    if wanted in _SCALARS:
        return _scalar(value, wanted)
    if origin in (tuple, list, Sequence, Iterable, set, frozenset):
        return _several(value, wanted, origin)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise Misfit(said(wanted))
        key, item = get_args(wanted)
        return {fitted(k, key): fitted(v, item) for k, v in value.items()}
    return value  # a type of the strategy's own: it checks itself as it begins


def _scalar(value: Any, wanted: Any) -> Any:
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    raise Misfit(_SCALARS[wanted])


def _one_of(value: Any, kinds: Sequence[Any], wanted: Any) -> Any:
    help = ""
    for kind in sorted(kinds, key=lambda k: k is not type(value)):  # its own type first
        try:
            return fitted(value, kind)
        except Misfit as e:
            help = help or e.help
    raise Misfit(said(wanted), help)


def _several(value: Any, wanted: Any, origin: Any) -> Any:
    kinds = get_args(wanted)
    if isinstance(value, str) and str in kinds:
        value = (value,)
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise Misfit(said(wanted))
    items = list(value)
    if origin is tuple and kinds[-1] is not Ellipsis:
        if len(items) != len(kinds):
            raise Misfit(said(wanted))
        return tuple(fitted(v, kind) for v, kind in zip(items, kinds, strict=True))
    made = [fitted(v, kinds[0]) for v in items]
    return made if origin is list else frozenset(made) if origin in (set, frozenset) else tuple(made)


def near(name: Any, known: Iterable[Any]) -> str:
    """`did you mean ...?`, or an empty text. Each word of a name must be like one of what is meant: `max_demos` is not
    `max_errors`."""

    def alike(other: str) -> bool:
        theirs = other.split("_")
        return all(
            difflib.get_close_matches(word, theirs, 1) or any(its.startswith(word) for its in theirs)
            for word in str(name).split("_")
        )

    found = difflib.get_close_matches(str(name), [k for k in map(str, known) if alike(k)], 1, cutoff=0.5)
    return f"did you mean `{found[0]}`?" if found else ""


def said(wanted: Any) -> str:
    """A type in words, as messages and lists of options say it."""
    origin, args = get_origin(wanted), get_args(wanted)
    if wanted in _SCALARS:
        return _SCALARS[wanted]
    if wanted is type(None):
        return "null"
    if origin in (Union, types.UnionType):
        return " or ".join(said(a) for a in args)
    if origin is Literal:
        return "one of " + ", ".join(repr(a) if isinstance(a, str) else str(a) for a in args)
    if origin in (tuple, list, Sequence, Iterable, set, frozenset):
        if origin is tuple and args[-1] is not Ellipsis:
            return f"a list of {len(args)}"
        return f"a list of {_many(args[0])}"
    if origin in (dict, Mapping):
        return f"{_many(args[1])} by name"
    return "a value" if wanted is Any else f"a {getattr(wanted, '__name__', wanted)}"


def _many(wanted: Any) -> str:
    words = {int: "whole numbers", float: "numbers", bool: "truth values", str: "texts", Any: "values", Path: "files"}
    return words.get(wanted) or f"({said(wanted)})"
