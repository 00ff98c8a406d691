"""Python annotations as IR types: builtins, typing, enums, and records by their fields."""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Mapping
from typing import Any, ForwardRef, Literal, Union, cast, get_args, get_origin, is_typeddict

from lampc.ir.types import ANY, BOOL, FLOAT, INT, NONE, STR, Choice, ListOf, Maybe, Record, Type, join, type_of


class BadType(Exception):
    """An annotation that no field can have; the message says what and what to write instead."""


_PLAIN: dict[Any, Type] = {
    str: STR,
    int: INT,
    float: FLOAT,
    bool: BOOL,
    None: NONE,
    type(None): NONE,
    Any: ANY,
    object: ANY,
    dict: ANY,
    list: ListOf(ANY),
    tuple: ListOf(ANY),
    set: ListOf(ANY),
    frozenset: ListOf(ANY),
}
_LISTS = (list, tuple, set, frozenset)


def to_type(annotation: Any, names: Mapping[str, Any] | None = None) -> Type:
    """The IR type of an annotation; strings in it are looked up in `names`. Raises BadType."""
    return _Reader(names or {}, ()).read(annotation)


class _Reader:
    def __init__(self, names: Mapping[str, Any], open_classes: tuple[type, ...]) -> None:
        self.names = names
        self.open = open_classes

    def read(self, annotation: Any) -> Type:
        if isinstance(annotation, ForwardRef):
            annotation = annotation.__forward_arg__
        if isinstance(annotation, str):
            annotation = evaluate(annotation, self.names)
        if isinstance(annotation, Type):
            return annotation
        try:
            if annotation in _PLAIN:
                return _PLAIN[annotation]
        except TypeError:
            pass
        origin = get_origin(annotation)
        if origin is not None:
            return self.generic(annotation, origin, get_args(annotation))
        if isinstance(annotation, type):
            return self.klass(annotation)
        raise BadType(f"`{show(annotation)}` is not a type that a field can have")

    def generic(self, annotation: Any, origin: Any, args: tuple[Any, ...]) -> Type:
        if origin is Literal:
            return literal(args)
        if origin in (Union, types.UnionType):
            return self.union(args)
        if origin is typing.Annotated:
            return self.read(args[0])
        if origin in _LISTS or origin in _ABSTRACT:
            items = [self.read(a) for a in args if a is not Ellipsis]
            return ListOf(join(items))
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return ANY
        raise BadType(f"`{show(annotation)}` is not a type that a field can have")

    def union(self, args: tuple[Any, ...]) -> Type:
        parts = [self.read(a) for a in args if a not in (None, type(None))]
        if all(isinstance(p, Choice) for p in parts):
            whole: Type = Choice(tuple(dict.fromkeys(o for p in parts if isinstance(p, Choice) for o in p.options)))
        else:
            whole = parts[0] if all(p == parts[0] for p in parts) else ANY
        return Maybe(whole) if len(parts) < len(args) and whole != ANY else whole

    def klass(self, cls: type) -> Type:
        if issubclass(cls, enum.Enum):
            return Choice(tuple(str(m.value) for m in cls))
        if cls in self.open:
            raise BadType(f"`{cls.__name__}` contains itself")
        fields = _fields_of(cls)
        if fields is None:
            raise BadType(
                f"`{cls.__name__}` is not a type that a field can have: use a builtin, Literal, an Enum, "
                "a dataclass or a TypedDict"
            )
        module = sys.modules.get(cls.__module__)
        known = ChainMap(vars(module) if module else {}, cast(Any, self.names))
        inner = _Reader(known, (*self.open, cls))
        return Record(tuple((n, inner.read(a)) for n, a in fields.items()))


_ABSTRACT = {get_origin(t) for t in (typing.Sequence[int], typing.Iterable[int], typing.Collection[int])}


def _fields_of(cls: type) -> dict[str, Any] | None:
    """Annotations by field name of a dataclass, TypedDict, NamedTuple or pydantic model; else None."""
    if dataclasses.is_dataclass(cls):
        return {f.name: f.type for f in dataclasses.fields(cls)}
    if is_typeddict(cls):
        return dict(cls.__annotations__)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return {n: getattr(cls, "__annotations__", {}).get(n, Any) for n in cls._fields}
    if hasattr(cls, "model_fields") and isinstance(cls.model_fields, dict):
        return {n: f.annotation for n, f in cls.model_fields.items()}
    return None


def literal(values: tuple[Any, ...]) -> Type:
    """The type of `Literal[...]`: a choice of strings, else the type of the values. Raises BadType."""
    if values and all(isinstance(v, str) for v in values):
        return Choice(tuple(values))
    kinds = {type(v.value if isinstance(v, enum.Enum) else v) for v in values}
    if len(kinds) == 1 and kinds <= {int, bool, float}:
        return type_of(values[0])
    if values and all(isinstance(v, enum.Enum) for v in values):
        return Choice(tuple(str(v.value) for v in values))
    raise BadType(f"Literal[{', '.join(map(repr, values))}]: all values must be strings, or all numbers")


def evaluate(text: str, names: Mapping[str, Any]) -> Any:
    """Evaluate the text of an annotation; `typing` and builtins are known. Raises BadType."""
    scope = ChainMap({"typing": typing}, cast(Any, names), vars(typing))
    try:
        return eval(text, {}, scope)
    except Exception as e:
        raise BadType(f"type `{text}` cannot be read: {e}") from e


def show(annotation: Any) -> str:
    """A short name of an annotation for messages."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def default_of(t: Type) -> Any:
    """The value of an output that the model left out: null where the type allows it. Raises BadType."""
    if isinstance(t, Maybe) or t == NONE:
        return None
    raise BadType(f"{t} has no default")
