"""Tracing displays: tuples, lists, sets and dicts; constants where all parts are known now."""

from __future__ import annotations

import ast
from typing import Any

from lampc.frontend.python.base import Base
from lampc.frontend.python.declare import Tune
from lampc.frontend.python.traced import Completions, Traced, as_json, is_static
from lampc.ir import prog
from lampc.ir.types import Record


class Displays(Base):
    """`(a, b)`, `[a, *b]`, `{a}`, `{"a": b, **c}`."""

    def _elements(self, nodes: list[ast.expr]) -> list[Any] | None:
        """Values of a display without stars."""
        return None if any(isinstance(n, ast.Starred) for n in nodes) else [self.expr(n) for n in nodes]

    def _Tuple(self, node: ast.Tuple) -> Any:
        values = self._elements(node.elts)
        return self._starred(node) if values is None else tuple(values)

    def _List(self, node: ast.List) -> Any:
        values = self._elements(node.elts)
        if values is None:
            return self._starred(node)
        if all(is_static(v) for v in values):
            return values
        if not all(map(_liftable, values)):  # modules among values of the program: a list of the trace only
            return values
        return Traced(self.emit(prog.MakeList, *(self.lift(v, node) for v in values), node=node).result)

    def _starred(self, node: ast.Tuple | ast.List) -> Any:
        whole: Any = []
        for n in node.elts:
            part = self.expr(n.value) if isinstance(n, ast.Starred) else [self.expr(n)]
            if isinstance(n, ast.Starred) and not isinstance(part, Traced):
                part = list(part)
            if is_static(part) and is_static(whole):
                whole = whole + part
            else:
                whole = self.apply("add", whole, part, node=node)
        return whole

    def _Set(self, node: ast.Set) -> Any:
        values = [self.expr(n) for n in node.elts]
        if all(is_static(v) for v in values):
            return set(values)
        raise self.stop("L0712", node, "a set of values of the program", "write a list")

    def _Dict(self, node: ast.Dict) -> Any:
        values: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                values.update(self.fields(self.expr(value), node))
            else:
                name = self.expr(key)
                if not is_static(name):
                    raise self.stop("L0712", node, "a dict whose keys are values of the program")
                values[name] = self.expr(value)
        return values if all(is_static(v) for v in values.values()) else self.pack(values, node)

    def fields(self, value: Any, node: ast.AST) -> dict[str, Any]:
        """The fields of a record whose names are known."""
        if isinstance(value, dict):
            return value
        if isinstance(value, Completions):
            value = Traced(self.first(value, node))
        if isinstance(value, Traced) and isinstance(value.type, Record):
            return {n: self.get(value, n, node) for n in value.type.names()}
        if hasattr(value, "toDict") and is_static(value):
            return dict(value.toDict())
        raise self.stop("L0712", node, "`**` of a record whose fields are only known at run time")


def _liftable(value: Any) -> bool:
    """Whether a value can be one of the IR: known parts must be JSON."""
    if isinstance(value, tuple | list):
        return all(map(_liftable, value))
    if isinstance(value, dict):
        return all(map(_liftable, value.values()))
    if not is_static(value):
        return True
    try:
        as_json(value)
    except TypeError:
        return isinstance(value, Tune)
    return True
