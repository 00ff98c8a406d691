"""Python annotations as IR types: builtins, typing, enums, and records by their fields."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Mapping
from functools import partial
from typing import Any, ForwardRef, Literal, Union, cast, get_args, get_origin, is_typeddict

from lampc.frontend.python.values.foreign import accepts, build, is_custom
from lampc.frontend.python.values.names import BadType, of_text
from lampc.frontend.python.values.plain import plain
from lampc.ir.hostvalues import HostClass, host_name, register, without_odd_defaults
from lampc.ir.types import ANY, BOOL, FLOAT, INT, NONE, STR, Choice, ListOf, MapOf, Maybe, Record, Type, join, type_of

_PLAIN: dict[Any, Type] = {
    str: STR,
    int: INT,
    float: FLOAT,
    bool: BOOL,
    None: NONE,
    type(None): NONE,
    Any: ANY,
    object: ANY,
    dict: MapOf(ANY),
    list: ListOf(ANY),
    tuple: ListOf(ANY),
    set: ListOf(ANY),
    frozenset: ListOf(ANY),
}
_LISTS = (list, tuple, set, frozenset)
_TEXTS = frozenset(
    {
        "bytes", "complex", "datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "uuid.UUID",
        "decimal.Decimal", "pathlib.Path", "pathlib.PurePath", "re.Pattern",
    }
)  # fmt: skip
"""Classes of the standard library whose objects JSON spells as texts."""


def to_type(annotation: Any, names: Mapping[str, Any] | None = None) -> Type:
    """The IR type of an annotation; strings in it are looked up in `names`. Raises BadType."""
    return TypeReader(names or {}).read(annotation)


class TypeReader:
    """Reads one annotation. Afterwards `native` says that values of it are the JSON values themselves, `held` that
    a program's graph can stand for them (objects of classes as records that name their class)."""

    def __init__(self, names: Mapping[str, Any], open_classes: tuple[type, ...] = ()) -> None:
        self.names = names
        self.open = open_classes
        self.native = self.held = True

    def read(self, annotation: Any) -> Type:
        if isinstance(annotation, ForwardRef):
            annotation = annotation.__forward_arg__
        if isinstance(annotation, str):
            annotation = of_text(annotation, self.names)
        if isinstance(annotation, Type):
            return annotation
        try:
            if annotation in _PLAIN:
                self.native &= annotation not in (tuple, set, frozenset)
                return _PLAIN[annotation]
        except TypeError:
            pass
        origin = get_origin(annotation)
        if origin is not None and origin is not collections.abc.Callable:
            return self.generic(annotation, origin, get_args(annotation))
        if isinstance(annotation, type):
            return self.klass(annotation)
        if isinstance(annotation, typing.TypeVar):
            return self.foreign()
        raise BadType(f"`{show(annotation)}` is not a type that a field can have")

    def generic(self, annotation: Any, origin: Any, args: tuple[Any, ...]) -> Type:
        if origin is Literal:
            self.native &= not any(isinstance(a, enum.Enum) for a in args)
            return literal(args)
        if origin in (Union, types.UnionType):
            return self.union(args)
        if origin is typing.Annotated:
            self.native = False
            return self.read(args[0])
        if origin in _LISTS or origin in _ABSTRACT:
            self.native &= origin is list
            items = [self.read(a) for a in args if a is not Ellipsis]
            return ListOf(join(items))
        if isinstance(origin, type) and issubclass(origin, Mapping):
            key, item = (self.read(a) for a in args) if len(args) == 2 else (STR, ANY)
            self.native &= origin is dict and key == STR
            self.held &= key == STR
            return MapOf(item, key)
        if accepts(annotation):
            return self.klass(origin, annotation) if isinstance(origin, type) else self.foreign()
        raise BadType(f"`{show(annotation)}` is not a type that a field can have")

    def union(self, args: tuple[Any, ...]) -> Type:
        parts = [self.read(a) for a in args if a not in (None, type(None))]
        if all(p == parts[0] for p in parts):
            whole = parts[0]
        elif all(isinstance(p, Choice) for p in parts):
            whole = Choice(tuple(dict.fromkeys(o for p in parts if isinstance(p, Choice) for o in p.options)))
        else:
            whole = ANY
        self.held &= self.native or len(parts) == 1
        return Maybe(whole) if len(parts) < len(args) and whole != ANY else whole

    def foreign(self) -> Type:
        """A type that only its own library reads."""
        self.native = self.held = False
        return ANY

    def klass(self, cls: type, annotation: Any = None) -> Type:
        if issubclass(cls, enum.Enum):
            return self.enumeration(cls)
        self.native = False
        if is_custom(cls):
            self.held = False
            return cast(Type, getattr(cls, "__ir_type__", ANY))
        if f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.") in _TEXTS:
            self.held = False
            return STR
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            self.held = False
            return ListOf(join([self.read(a) for a in getattr(cls, "__annotations__", {}).values()]))
        if cls in self.open:
            self.held = False
            return ANY  # a type inside itself: types of the IR are finite
        fields = _fields_of(cls)
        if fields is None:
            if accepts(annotation or cls):
                return self.foreign()
            raise BadType(
                f"`{cls.__name__}` is not a type that a field can have: use a builtin, Literal, an Enum, "
                "a dataclass, a TypedDict or a pydantic model"
            )
        module = sys.modules.get(cls.__module__)
        known = ChainMap(vars(module) if module else {}, cast(Any, self.names))
        inner = type(self)(known, (*self.open, cls))
        made = tuple((n, inner.read(a)) for n, a in fields.items())
        if is_typeddict(cls):
            self.held &= inner.held and inner.native
            return Record(made)
        record = Record(made, host_name(cls))
        lift = partial(_made, cls, record)
        register(HostClass(cls, lift, _lowered, _optional(cls), _fixed_defaults(cls)))
        return record

    def enumeration(self, cls: type[enum.Enum]) -> Type:
        self.native = False
        values = [m.value for m in cls]
        if all(isinstance(v, str) for v in values):
            return Choice(tuple(map(str, values)), register(HostClass(cls, lambda v: member(cls, v), plain)))
        self.held = False
        try:
            return join([type_of(v) for v in values])
        except TypeError:
            return ANY


_ABSTRACT = {get_origin(t) for t in (typing.Sequence[int], typing.Iterable[int], typing.Collection[int])}


def _fields_of(cls: type) -> dict[str, Any] | None:
    """Annotations by field name of a dataclass, TypedDict or pydantic model; else None."""
    if dataclasses.is_dataclass(cls):
        return {f.name: f.type for f in dataclasses.fields(cls)}
    if is_typeddict(cls) or (issubclass(cls, dict) and hasattr(cls, "__total__")):
        return {n: _item(a) for n, a in cls.__annotations__.items()}
    if hasattr(cls, "model_fields") and isinstance(cls.model_fields, dict):
        return {n: f.annotation for n, f in cls.model_fields.items()}
    return None


def _made(cls: type, record: Record, value: Any) -> Any:
    """The object of a class that a plain value stands for. Raises ValueError."""
    return build(cls, without_odd_defaults(value, record))


def _optional(cls: type) -> frozenset[str]:
    """The fields of a dataclass or pydantic model that have a default, or are of the class's own making."""
    empty, own = dataclasses.MISSING, dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    made = {f.name for f in own if not f.init}
    if (read := _read_by_pydantic(cls)) is not None:
        return frozenset(made | {n for n, f in read.items() if not f.is_required()})
    return frozenset(made | {f.name for f in own if f.default is not empty or f.default_factory is not empty})


def _fixed_defaults(cls: type) -> dict[str, Any]:
    """The defaults that no factory makes, as JSON."""
    if (read := _read_by_pydantic(cls)) is not None:
        fixed = (n for n, f in read.items() if not f.is_required() and f.default_factory is None)
        return {n: plain(read[n].default) for n in fixed}
    own = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return {f.name: plain(f.default) for f in own if f.default is not dataclasses.MISSING}


def _read_by_pydantic(cls: type) -> Any:
    """What pydantic knows of the fields of its models and its dataclasses; None for other classes."""
    if dataclasses.is_dataclass(cls):  # a plain one may inherit from one of pydantic's
        return vars(cls).get("__pydantic_fields__")
    return getattr(cls, "model_fields", None)


def _lowered(value: Any) -> Any:
    """As `plain`, with the fields that a dataclass makes itself (`init=False`), which pydantic leaves out."""
    made = plain(value)
    if dataclasses.is_dataclass(value) and isinstance(made, dict):
        own = (f.name for f in dataclasses.fields(value) if not f.init and hasattr(value, f.name))
        made |= {n: plain(getattr(value, n)) for n in own}
    return made


def _item(annotation: Any) -> Any:
    """The annotation of a TypedDict's item: one that may be absent is one that may be None."""
    if get_origin(annotation) is typing.Required:
        return get_args(annotation)[0]
    if get_origin(annotation) is typing.NotRequired:
        return typing.Optional[get_args(annotation)[0]]  # noqa: UP045 - works for all values
    return annotation


def literal(values: tuple[Any, ...]) -> Type:
    """The type of `Literal[...]`: a choice of strings, else the narrowest type of the values. Raises BadType."""
    plain = [v.value if isinstance(v, enum.Enum) else v for v in values]
    if not all(v is None or isinstance(v, str | int | bool | float) for v in plain):
        raise BadType(f"Literal[{', '.join(map(repr, values))}]: values are strings, numbers, truth values or None")
    texts = tuple(v for v in plain if isinstance(v, str))
    rest = [v for v in plain if v is not None]
    inner: Type = Choice(texts) if len(texts) == len(rest) > 0 else join([type_of(v) for v in rest])
    return Maybe(inner) if len(rest) < len(plain) and inner != ANY else inner


def member(cls: type[enum.Enum], value: Any) -> enum.Enum:
    """The member of an enum by its value as JSON has it, else by its name. Raises ValueError."""
    for m in cls:
        if m is value or plain(m.value) == value:
            return m
    if isinstance(value, str) and value in cls.__members__:
        return cls[value]
    raise ValueError(f"{value!r} is none of {', '.join(str(m.value) for m in cls)}")


def show(annotation: Any) -> str:
    """A short name of an annotation for messages."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


__all__ = ["BadType", "TypeReader", "literal", "member", "show", "to_type"]
