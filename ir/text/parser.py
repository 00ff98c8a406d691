"""Parsing `.lir`, the text form of the IR, with Lark (LALR)."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from lampc.ir.attrs import ATTRIBUTES, Attr, Obj, Symbol
from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.define import OPS
from lampc.ir.diag import CompileError, Diagnostic, Label, Source
from lampc.ir.loc import UNKNOWN, Derived, Loc, Span
from lampc.ir.types import KV, NONE, SCALARS, Choice, ListOf, MapOf, Maybe, Record, Type


@functools.cache
def _lark() -> Lark:
    grammar = files("lampc.ir.text").joinpath("lir.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def parse_module(text: str, path: str = "<lir>") -> Module:
    """Parse a module. Raises CompileError (L0901 syntax, L0902 unknown name) with the place in `text`."""
    import lampc.ir.kv
    import lampc.ir.prog
    import lampc.ir.requests  # noqa: F401  (importing registers the ops)

    source = Source(path, text)
    try:
        tree = _lark().parse(text)
    except UnexpectedInput as e:
        at = Span(path, max(e.line, 1), max(e.column, 1))
        token = getattr(e, "token", None)
        found = f"unexpected `{token}`" if token else "unexpected end or character"
        raise CompileError([Diagnostic("L0901", f"this is not IR text: {found}", Label(at))], [source]) from None
    return _Reader(path, source).module(tree)


class _Reader:
    def __init__(self, path: str, source: Source) -> None:
        self.path, self.source = path, source
        self.scope: dict[str, Value] = {}

    def fail(self, message: str, node: Any) -> CompileError:
        meta: Any = node if isinstance(node, Token) else node.meta
        at = Span(self.path, meta.line, meta.column, meta.end_line, meta.end_column)
        return CompileError([Diagnostic("L0902", message, Label(at))], [self.source])

    def module(self, tree: Tree[Any]) -> Module:
        name, *rest = tree.children
        module = Module(_symbol(name))
        for node in rest:
            if node.data == "attrs":
                module.attrs = self.attrs(node)
            else:
                self.scope = {}
                module.add(self.op(node))
        return module

    def op(self, node: Any) -> Op:
        names: list[str] = []
        symbol, attrs, regions, types = "", {}, [], []
        operands: list[Value] = []
        op_name, loc = "", UNKNOWN
        for child in node.children:
            if isinstance(child, Token):
                if child.type == "OPNAME":
                    op_name = str(child)
                else:
                    symbol = _symbol(child)
            elif child.data == "results":
                names = [str(t)[1:] for t in child.children]
            elif child.data == "operands":
                operands = [self.value(t) for t in child.children]
            elif child.data == "attrs":
                attrs = self.attrs(child)
            elif child.data == "region":
                regions.append(self.region(child))
            elif child.data == "types":
                types = [self.type(t) for t in child.children]
            else:
                loc = _loc(self.lit(child.children[0]))
        if len(names) != len(types):
            raise self.fail(f"{len(names)} results named, {len(types)} types given", node)
        cls = OPS.get(op_name, Op)
        made = object.__new__(cls)
        Op.__init__(made, operands, attrs, regions, types, symbol=symbol, loc=loc, op_name=op_name)
        for name, value in zip(names, made.results, strict=True):
            self.define(name, value)
        return made

    def define(self, name: str, value: Value) -> None:
        value.hint = "" if name.isdigit() else name
        self.scope[name] = value

    def value(self, token: Token) -> Value:
        found = self.scope.get(str(token)[1:])
        if found is None:
            raise self.fail(f"`{token}` is not defined here", token)
        return found

    def region(self, node: Any) -> Region:
        bargs, *ops = node.children
        outer = self.scope
        self.scope = dict(outer)
        region = Region()
        for barg in bargs.children:
            token, type_node = barg.children
            self.define(str(token)[1:], region.add_arg(self.type(type_node)))
        for op in ops:
            region.append(self.op(op))
        self.scope = outer
        return region

    def attrs(self, node: Any) -> dict[str, Attr]:
        return {str(p.children[0]): self.lit(p.children[1]) for p in node.children}

    def lit(self, node: Any) -> Attr:
        kids = node.children
        match node.data:
            case "string":
                return json.loads(kids[0], strict=False)
            case "number":
                text = str(kids[0])
                return float(text) if any(c in text for c in ".eE") else int(text)
            case "true" | "false":
                return node.data == "true"
            case "none":
                return None
            case "inf" | "ninf":
                return float("inf") if node.data == "inf" else float("-inf")
            case "nan":
                return float("nan")
            case "symbol":
                return Symbol(_symbol(kids[0]))
            case "list":
                return tuple(self.lit(k) for k in kids)
            case "obj":
                return Obj(tuple((json.loads(e.children[0], strict=False), self.lit(e.children[1])) for e in kids))
            case "type_lit":
                return self.type(kids[0])
        name, *pairs = kids
        cls = ATTRIBUTES.get(str(name))
        if cls is None:
            raise self.fail(f"there is no attribute `#{name}`", name)
        try:
            return cls(**{str(p.children[0]): self.lit(p.children[1]) for p in pairs})
        except TypeError as e:
            raise self.fail(f"#{name}: {e}", name) from None

    def type(self, node: Any) -> Type:
        kids = node.children
        match node.data:
            case "choice":
                options, host = _hosted(kids)
                return Choice(tuple(json.loads(k, strict=False) for k in options), host)
            case "list_of":
                return ListOf(self.type(kids[0]))
            case "map_of":
                *key, item = (self.type(k) for k in kids)
                return MapOf(item, *key)
            case "maybe":
                return Maybe(self.type(kids[0]))
            case "record":
                parts, host = _hosted(kids)
                return Record(tuple((_name(f.children[0]), self.type(f.children[1])) for f in parts), host)
            case "none_type":
                return NONE
        name = str(kids[0])
        if name == "kv":
            return KV
        if name not in SCALARS:
            raise self.fail(f"there is no type `{name}`", kids[0])
        return SCALARS[name]


def _hosted(kids: list[Any]) -> tuple[list[Any], str]:
    """The parts of a type, and the Python class that is named before them."""
    if kids and isinstance(kids[0], Tree) and kids[0].data == "host":
        return kids[1:], _unquoted(str(kids[0].children[0]))
    return kids, ""


def _name(node: Any) -> str:
    """Name of a record's field: quoted if it is no plain word."""
    text = str(node if isinstance(node, Token) else node.children[0])
    return _unquoted(text)


def _symbol(token: Any) -> str:
    return _unquoted(str(token)[1:])


def _unquoted(text: str) -> str:
    return str(json.loads(text, strict=False)) if text.startswith('"') else text


def _loc(lit: Attr) -> Loc:
    if lit is None:
        return UNKNOWN
    if len(lit) == 2:
        return Derived(lit[0], tuple(_loc(s) for s in lit[1]))
    return Span(*lit)
