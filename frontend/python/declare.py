"""Declarations beside predictors: tuned values; and what a function's annotations say of it."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

from lampc.frontend.python.annotations import BadType, to_type
from lampc.frontend.python.collect import declared
from lampc.frontend.python.frames import here
from lampc.frontend.python.serials import serials
from lampc.ir import Field
from lampc.ir.runner import current_runner
from lampc.ir.types import ANY, Type, type_of


def returns_of(function: Any) -> Type:
    """The declared result type of a function; `any` where there is none that the IR knows."""
    annotation = getattr(function, "__annotations__", {}).get("return", inspect.Parameter.empty)
    if annotation is inspect.Parameter.empty:
        return ANY
    try:
        return to_type(annotation, getattr(function, "__globals__", {}))
    except BadType:
        return ANY


def params_of(function: Callable[..., Any]) -> tuple[Field, ...]:
    """The parameters of a function with their types (`any` where none is written)."""
    scope = getattr(function, "__globals__", {})
    out = []
    for p in inspect.signature(function).parameters.values():
        try:
            t = ANY if p.annotation is inspect.Parameter.empty else to_type(p.annotation, scope)
        except BadType:
            t = ANY
        out.append(Field(p.name, t))
    return tuple(out)


class Tune:
    """A value that an optimizer may choose out of `choices`; behaves like its value."""

    def __init__(self, name: str, default: Any, choices: Sequence[Any]) -> None:
        if default not in choices:
            raise ValueError(f"tune `{name}`: the default {default!r} is none of the choices {list(choices)!r}")
        self.name, self.default, self.choices = name, default, tuple(choices)
        self.type = type_of(default)
        self.serial = next(serials)
        self.loc = here()
        declared(self)

    @property
    def value(self) -> Any:
        """The value under the candidate that runs, else the default."""
        chosen = getattr(current_runner.get(), "tuned", None)
        return chosen(self.name, self.default) if chosen else self.default

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.value, name)

    def __repr__(self) -> str:
        return f"Tune({self.name!r}, {self.default!r}, {list(self.choices)!r})"

    def __hash__(self) -> int:
        return hash(self.value)


def _delegate(name: str, function: Callable[..., Any]) -> None:
    def method(self: Tune, *others: Any) -> Any:
        return function(self.value, *(o.value if isinstance(o, Tune) else o for o in others))

    setattr(Tune, f"__{name}__", method)


def _reflect(name: str, function: Callable[..., Any]) -> None:
    setattr(Tune, f"__r{name}__", lambda self, other: function(other, self.value))


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod")
_CONVERSIONS: tuple[Callable[..., Any], ...] = (int, float, str, bool, len, iter)
for _name in (*_ARITHMETIC, "eq", "ne", "lt", "le", "gt", "ge", "neg", "index"):
    _delegate(_name, getattr(operator, _name))
for _function in _CONVERSIONS:
    _delegate(_function.__name__, _function)
for _name in _ARITHMETIC:
    _reflect(_name, getattr(operator, _name))


def tune(name: str, default: Any, choices: Sequence[Any]) -> Any:
    """Declare a tuned value: `k = lampc.tune("k", 4, [2, 4, 8])`."""
    return Tune(name, default, choices)


def vote(items: Any) -> Any:
    """The most frequent item; the earliest of those that tie. Raises ValueError for no items."""
    rows = list(items)
    if not rows:
        raise ValueError("a vote needs at least one item")
    texts = [repr(i) for i in rows]
    return rows[max(range(len(rows)), key=lambda i: (texts.count(texts[i]), -i))]


def argmax(items: Any) -> int:
    """Index of the largest item; the earliest of those that tie. Raises ValueError for no items."""
    rows = list(items)
    if not rows:
        raise ValueError("argmax needs at least one item")
    return max(range(len(rows)), key=lambda i: (rows[i], -i))
