"""Values while tracing: Python objects known now, and `Traced` ones, known only when the program runs."""

from __future__ import annotations

import ast
import enum
from dataclasses import dataclass, field
from typing import Any

from lampc.frontend.python.source import Source
from lampc.ir import Span, Value, freeze
from lampc.ir.prog import Predict
from lampc.ir.types import ListOf, Record, Type


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A value of the IR."""

    value: Value

    @property
    def type(self) -> Type:
        return self.value.type


@dataclass(frozen=True, slots=True, eq=False)
class Completions:
    """Several answers to one call: a list of records. Attributes give the first's fields."""

    rows: Value


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """A function or lambda defined inside the traced one; called by tracing its body in place."""

    node: ast.FunctionDef | ast.Lambda
    frame: Frame


@dataclass(frozen=True, slots=True, eq=False)
class Unusable:
    """What a name holds after branches that disagree in a way that no value can express."""

    why: str


@dataclass(frozen=True, slots=True, eq=False)
class WithIndex:
    """`enumerate(items, start)` while it is being looped over."""

    items: Any
    start: Any


@dataclass(slots=True)
class Frame:
    """The names of one Python function while it is traced. `loop` is set inside a loop that is a region, `at` where
    the function is the library's: the user's line that called it."""

    source: Source
    names: dict[str, Any] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    parent: Frame | None = None
    live: frozenset[str] = frozenset()
    loop: frozenset[str] | None = None
    depth: int = 0
    at: Span | None = None

    def find(self, name: str) -> Any:
        """What `name` holds. Raises KeyError."""
        if name in self.names:
            return self.names[name]
        if self.parent is not None:
            return self.parent.find(name)
        if name in self.source.outer:
            return self.source.outer[name]
        import builtins

        return vars(builtins)[name]


def is_static(value: Any) -> bool:
    """Whether a value is known now, all of it."""
    if isinstance(value, Traced | Completions | Local | Unusable | WithIndex):
        return False
    if isinstance(value, tuple | list):
        return all(map(is_static, value))
    return all(map(is_static, value.values())) if isinstance(value, dict) else True


def as_json(value: Any) -> Any:
    """A known value as JSON: enum members as their values, sets as sorted lists. Raises TypeError."""
    if isinstance(value, enum.Enum):
        return as_json(value.value)
    if hasattr(value, "toDict"):
        return as_json(value.toDict())
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((as_json(v) for v in value), key=repr)
    if isinstance(value, range):
        return list(value)
    if isinstance(value, dict):
        if not all(isinstance(k, str) for k in value):
            raise TypeError("the keys of a record are texts")
        return {k: as_json(v) for k, v in value.items()}
    freeze(value)
    return value


def same(a: Any, b: Any) -> bool:
    """Whether two values are surely one: the same object, or equal constants of one type."""
    if a is b:
        return True
    if isinstance(a, Traced) and isinstance(b, Traced):
        return a.value is b.value
    if not (is_static(a) and is_static(b)) or type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return isinstance(a, str | int | float | bool | dict | type(None)) and bool(a == b)


@dataclass(slots=True)
class Exit:
    """How a block ended: `broke` out of a loop (False or a value), or with a result (`returned`)."""

    returned: bool = False
    broke: Any = False
    value: Any = None
    dead: bool = False


def holds_records(value: Any) -> bool:
    """Whether records of the program are among the arguments: a Python function would want their attributes. Those
    that stand for objects of a class become them on the way."""
    if isinstance(value, Completions):
        return True
    if isinstance(value, list | tuple | dict):
        return any(map(holds_records, value.values() if isinstance(value, dict) else value))
    t = value.type if isinstance(value, Traced) else None
    item = t.item if isinstance(t, ListOf) else t
    return isinstance(item, Record) and not item.host


def answers(value: Any) -> bool:
    """Whether a value is what one call of a predictor gave."""
    return isinstance(value, Traced) and isinstance(value.value.defining_op(), Predict)
