"""Content of the IR: frozen, hashable values with a stable digest.

An attribute is a JSON-like scalar, a tuple, an `Obj` (frozen mapping), a `Type`, a `Symbol`, or an
instance of a class declared with `@attribute("name")`. Everything an op says besides its operands is
one of these, so equality is structural and a digest is a hash of the text form.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, dataclass_transform

from lampc.ir.types import Type

_T = TypeVar("_T")
ATTRIBUTES: dict[str, type] = {}
"""Declared attribute classes by their name in the text form (`#name<...>`)."""


@dataclass_transform(frozen_default=True)
def attribute(name: str) -> Any:
    """Class decorator: a frozen dataclass that prints as `#name<field = value, ...>`, defaults left out."""

    def register(cls: type[_T]) -> type[_T]:
        made = dataclass(frozen=True, slots=True)(cls)
        made.attr_name = name  # type: ignore[attr-defined]
        ATTRIBUTES[name] = made
        return made

    return register


@dataclass(frozen=True, slots=True)
class Symbol:
    """A reference to a module-level definition: `@name`."""

    name: str


class Obj(Mapping[str, "Attr"]):
    """A frozen, ordered mapping from strings to attributes; hashable."""

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Mapping[str, Attr] | tuple[tuple[str, Attr], ...] = ()) -> None:
        pairs = items.items() if isinstance(items, Mapping) else items
        self._items: dict[str, Attr] = dict(pairs)
        self._hash: int | None = None

    def __getitem__(self, key: str) -> Attr:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        if self._hash is None:  # candidates are looked up often, and hold many demos
            self._hash = hash(tuple(self._items.items()))
        return self._hash

    def __reduce__(self) -> tuple[type[Obj], tuple[tuple[tuple[str, Attr], ...]]]:
        return Obj, (tuple(self._items.items()),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Obj) and tuple(self._items.items()) == tuple(other._items.items())

    def __repr__(self) -> str:
        return f"Obj({self._items!r})"


Attr: TypeAlias = Any
"""None | bool | int | float | str | tuple[Attr, ...] | Obj | Type | Symbol | a declared attribute."""


def freeze(value: Any) -> Attr:
    """Turn a plain JSON value (lists, dicts) into an attribute. Raises TypeError on anything else."""
    if isinstance(value, list | tuple):
        return tuple(freeze(v) for v in value)
    if isinstance(value, Mapping):
        return Obj(tuple((str(k), freeze(v)) for k, v in value.items()))
    if value is None or isinstance(value, bool | int | float | str | Type | Symbol) or is_declared(value):
        return value
    raise TypeError(f"{type(value).__name__} cannot be kept in the IR: only JSON values can")


def thaw(attr: Attr) -> Any:
    """The plain JSON value of a frozen constant: the inverse of `freeze` on JSON values."""
    if isinstance(attr, tuple):
        return [thaw(a) for a in attr]
    if isinstance(attr, Obj):
        return {k: thaw(v) for k, v in attr.items()}
    return attr


def is_declared(value: object) -> bool:
    """Whether `value` is an instance of a class declared with `@attribute`."""
    return ATTRIBUTES.get(getattr(type(value), "attr_name", "")) is type(value)


def declared_fields(value: object) -> list[tuple[str, Attr]]:
    """(field, value) pairs of a declared attribute, those equal to their default left out."""
    kind: Any = type(value)
    out = []
    for name, default in _fields(kind):
        v = getattr(value, name)
        if default is dataclasses.MISSING or type(v) is not type(default) or v != default:
            out.append((name, v))
    return out


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Names and defaults of a declared class."""
    return tuple((f.name, f.default) for f in dataclasses.fields(kind))


def digest(attr: Attr) -> str:
    """Stable 32-digit hexadecimal digest (BLAKE2b-128) of an attribute's text form."""
    from lampc.ir.text.printer import print_attr  # the text form is defined there, once

    return hashlib.blake2b(print_attr(attr).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
