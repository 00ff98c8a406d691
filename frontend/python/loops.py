"""Comprehensions: what is run over, and the region that runs for each item."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lampc.frontend.python.base import Base, WouldEmit, item_type
from lampc.frontend.python.liveness import target_names
from lampc.frontend.python.traced import Completions, Traced, WithIndex, as_json, is_static
from lampc.ir import Region, Value, prog
from lampc.ir.types import ANY, INT, ListOf, MapOf, Maybe, Record, Type, join, type_of

UNROLL = 256
"""Most items of a known list over which a body is repeated."""


class Iteration:
    """A comprehension (or a loop that only collects) at `node`."""

    def __init__(self, tracer: Base, node: ast.AST) -> None:
        self.t = tracer
        self.node = node

    def comprehension(self, elt: ast.expr, generators: list[ast.comprehension]) -> Any:
        """The list that `[elt for ... in ...]` gives."""
        t = self.t
        with scoped(t, generators):
            done, value = t.known(lambda: self._each(elt, generators))
            if done:
                return value
            if t.quiet:
                raise WouldEmit
            items = walked(t, t.expr(generators[0].iter), generators[0].iter)
            if is_static(items) and not _json(items):
                return self._as_list(self._each(elt, generators))
            if _known_items(items):
                return t.attempt(
                    lambda: self.mapped(elt, generators, items),
                    lambda e: self._as_list(self._or(e, elt, generators)),
                )
            return self.mapped(elt, generators, items)

    def unrolled(self, elt: ast.expr, generators: list[ast.comprehension]) -> list[Any]:
        """The values of `elt`, one after another."""
        with scoped(self.t, generators):
            return self._each(elt, generators)

    def _as_list(self, values: list[Any]) -> Any:
        if is_static(values):
            return values
        lifted = [self.t.lift(v, self.node) for v in values]
        return Traced(self.t.emit(prog.MakeList, *lifted, node=self.node).result)

    def _or(self, error: Exception, elt: ast.expr, generators: list[ast.comprehension]) -> list[Any]:
        return self.t.attempt(lambda: self._each(elt, generators), _raiser(error))

    def _each(self, elt: ast.expr, generators: list[ast.comprehension]) -> list[Any]:
        if not generators:
            return [self.t.expr(elt)]
        first, rest = generators[0], generators[1:]
        out: list[Any] = []
        for value in known_items(self.t, walked(self.t, self.t.expr(first.iter), first.iter), first.iter):
            self.t.assign(first.target, value)
            if all(self._now(c) for c in first.ifs):
                out += self._each(elt, rest)
        return out

    def _now(self, condition: ast.expr) -> bool:
        value = self.t.expr(condition)
        if not is_static(value):
            raise self.t.stop("L0712", condition, "a filter that is only known at run time, over Python objects")
        return bool(value)

    def mapped(self, elt: ast.expr, generators: list[ast.comprehension], items: Any) -> Traced:
        """As a `prog.map`."""
        t, generator, rest = self.t, generators[0], generators[1:]
        body = Region()
        source = start(t, items, generator.target, body, generator.iter)
        with t.inside(body):
            test = t.expr(_all(generator.ifs)) if generator.ifs else True
            inner = Region()
            with t.inside(inner):
                value = t.lift(self.comprehension(elt, rest) if rest else t.expr(elt), elt)
            keep = True if test is True else t.lift(t.truth(test, elt), elt)
            self.keep(value, inner, keep, elt)
        out = Traced(t.emit(prog.Map, source, node=self.node, regions=[body]).result)
        return t.apply("flatten", out, node=self.node) if rest else out

    def keep(self, value: Value, inner: Region, keep: Value | bool, node: ast.AST) -> None:
        """End a map's region: `inner` computes the value, and runs only where it is kept."""
        t = self.t
        if isinstance(keep, bool) or not inner.ops:
            t.region.ops += inner.ops
            for op in inner.ops:
                op.parent = t.region
            t.emit(prog.Yield, *([value] if isinstance(keep, bool) else [value, keep]), node=node)
            return
        missing = Region()
        with t.inside(inner):
            t.emit(prog.Yield, value, node=node)
        with t.inside(missing):
            t.emit(prog.Yield, t.const(None, node, value.type), node=node)
        made = t.emit(prog.If, keep, node=node, regions=[inner, missing])
        t.emit(prog.Yield, made.outs[0], keep, node=node)


def walked(t: Base, items: Any, node: ast.AST) -> Any:
    """What a loop over a value goes over: of a prediction or dict its names. Raises Untraceable for an object of a
    class, which may say so itself."""
    if not isinstance(items, Traced):
        return items
    found = items.type.item if isinstance(items.type, Maybe) else items.type
    if isinstance(found, Record) and found.host:
        raise t.stop("L0712", node, "a loop over an object of a class")
    if not isinstance(items.type, Record | MapOf) or items.type == Record(()):
        return items
    if isinstance(items.type, MapOf) or any(isinstance(field, Maybe) for _, field in items.type.fields):
        return t.apply("keys", items, node=node)  # what may be None may be absent, too
    return list(items.type.names())


def _all(conditions: list[ast.expr]) -> ast.expr:
    if len(conditions) == 1:
        return conditions[0]
    return ast.copy_location(ast.BoolOp(ast.And(), conditions), conditions[0])


def _raiser(error: Exception) -> Any:
    def again(_: Exception) -> Any:
        raise error

    return again


@contextmanager
def scoped(t: Base, generators: list[ast.comprehension]) -> Iterator[None]:
    """The targets of a comprehension are its own names."""
    own = {n for g in generators for n in target_names(g.target)}
    before = {n: t.frame.names[n] for n in own if n in t.frame.names}
    try:
        yield
    finally:
        for name in own:
            t.frame.names.pop(name, None)
        t.frame.names.update(before)


def start(t: Base, items: Any, target: ast.expr, body: Region, node: ast.AST) -> Value:
    """Give `body` the arguments of a map over `items`, bind `target` to them, and give the list."""
    if isinstance(items, Completions):
        raise t.stop("L0712", node, "running over a prediction")
    hint = target.id if isinstance(target, ast.Name) and target.id != "_" else ""
    index_hint, offset = "", 0
    if isinstance(items, WithIndex):
        if not (isinstance(target, ast.Tuple) and len(target.elts) == 2):
            raise t.stop("L0712", node, "`enumerate` whose pairs are not taken apart")
        index_node, target = target.elts
        index_hint = index_node.id if isinstance(index_node, ast.Name) and index_node.id != "_" else ""
        hint = target.id if isinstance(target, ast.Name) and target.id != "_" else ""
        source = t.lift(items.items, node)
        item, index = body.add_arg(item_type(source.type), hint), body.add_arg(INT, index_hint)
        offset = items.start
        with t.inside(body):
            number = Traced(index) if offset == 0 else t.apply("add", Traced(index), offset, node=node)
            t.assign(index_node, number)
            t.assign(target, Traced(item))
        return source
    source = t.lift(items, node)
    item = body.add_arg(item_type(source.type), hint)
    body.add_arg(INT, index_hint)
    with t.inside(body):
        t.assign(target, Traced(item))
    return source


def _json(items: Any) -> bool:
    try:
        as_json(items)
    except TypeError:
        return False
    return True


def _known_items(items: Any) -> bool:
    return not isinstance(items, Traced | Completions | WithIndex) or (
        isinstance(items, WithIndex) and is_static(items.items)
    )


def known_items(t: Base, items: Any, node: ast.AST) -> list[Any]:
    """The items of something whose length is known now. Raises Untraceable."""
    if isinstance(items, WithIndex):
        if not isinstance(items.start, int):
            raise t.stop("L0712", node, "`enumerate` with a start that is only known at run time")
        return [(i + items.start, v) for i, v in enumerate(known_items(t, items.items, node))]
    if isinstance(items, Traced | Completions):
        raise t.stop("L0712", node, "running over a list of the program, with something that cannot be a value in it")
    try:
        out = list(items)
    except TypeError:
        raise t.stop("L0712", node, f"`{type(items).__name__}` is nothing to run over") from None
    if len(out) > UNROLL:
        raise t.stop("L0716", node, f"more than {UNROLL} rounds over Python objects")
    return out


def type_now(value: Any) -> Type:
    """Type of a value, traced or known."""
    if isinstance(value, Traced):
        return value.type
    if isinstance(value, tuple | list):
        return ListOf(join([type_now(v) for v in value]))
    try:
        return type_of(as_json(value))
    except TypeError:
        return ANY
