"""Values while a function is built: SSA values, and literals that become constants where they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from lampc.ir import ANY, Choice, ListOf, MapOf, Maybe, Record, Scalar, Span, Type, Value
from lampc.ir.types import assignable, join, mismatch, spelled, type_of


@dataclass(frozen=True, slots=True)
class Lit:
    """A plain JSON value known now."""

    value: Any

    @property
    def type(self) -> Type:
        return type_of(self.value)


Val: TypeAlias = Value | Lit | None
"""None stands for a value that an error (already reported) made unknowable: nobody complains about it."""


@dataclass(slots=True)
class Binding:
    """A name that is visible: its value, where it was bound, and whether anything uses it."""

    value: Val
    span: Span
    used: bool = False


def type_of_val(val: Val) -> Type:
    return ANY if val is None else val.type


def misfit(val: Val, wanted: Type) -> str | None:
    """Why `val` cannot stand where `wanted` is expected, or None if it can."""
    if val is None:
        return None
    if isinstance(val, Lit):
        return mismatch(val.value, wanted)
    return None if fits(val.type, wanted) else f"expected {spelled(wanted)}, got {spelled(val.type)}"


def fits(source: Type, target: Type) -> bool:
    return assignable(source, target)


def joined(types: list[Type]) -> Type | None:
    """The type of a value that comes from several places; None if they have nothing in common."""
    out = join(types)
    return None if out == ANY and types and ANY not in types and not _holds_any(types) else out


def _holds_any(types: list[Type]) -> bool:
    return any(ANY in _parts(t) for t in types)


def _parts(t: Type) -> list[Type]:
    match t:
        case ListOf(item) | Maybe(item) | MapOf(item):
            return [t, *_parts(item)]
        case Record(fields):
            return [t, *(p for _, f in fields for p in _parts(f))]
    return [t]


def is_text(t: Type) -> bool:
    return t == Scalar("str") or isinstance(t, Choice)


def is_number(t: Type) -> bool:
    return t in (Scalar("int"), Scalar("float"), Scalar("bool"))
