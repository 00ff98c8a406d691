"""Printing IR. Total: never raises, also for broken or unregistered IR, so it can be looked at."""

from __future__ import annotations

import math
import re
from json.encoder import encode_basestring as _quoted
from typing import TYPE_CHECKING

from lampc.ir.attrs import Attr, Obj, Symbol, declared_fields, is_declared
from lampc.ir.loc import UNKNOWN, Derived, Loc, Span
from lampc.ir.types import Type

if TYPE_CHECKING:
    from lampc.ir.core import Module, Op, Region, Value

_IDENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_INDENT = "  "


def print_attr(attr: Attr) -> str:
    """Text form of an attribute."""
    if type(attr) is str:  # most are
        return _quoted(attr)
    if attr is None:
        return "none"
    if isinstance(attr, bool):
        return "true" if attr else "false"
    if isinstance(attr, int):
        return str(attr)
    if isinstance(attr, float):
        return _float(attr)
    if isinstance(attr, str):
        return _quoted(attr)
    if isinstance(attr, Symbol):
        return _symbol(attr.name)
    if isinstance(attr, Type):
        return f"!{attr}"
    if isinstance(attr, tuple | list):
        return "[" + ", ".join(map(print_attr, attr)) + "]"
    if isinstance(attr, Obj | dict):
        return "{" + ", ".join(f"{_quoted(k)}: {print_attr(v)}" for k, v in attr.items()) + "}"
    if is_declared(attr):
        body = ", ".join(f"{n} = {print_attr(v)}" for n, v in declared_fields(attr))
        return f"#{type(attr).attr_name}<{body}>"
    return _quoted(f"?{attr!r}")  # broken IR: shown, not raised


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = repr(value)
    return text if any(c in text for c in ".e") else text + ".0"


def _symbol(name: str) -> str:
    return f"@{name}" if _SYMBOL.match(name) else "@" + _quoted(name)


class Texts:
    """Texts of content that many ops of a module have in common (signatures, prompts, types), each made once.

    By identity, so it must not outlive what it has texts of.
    """

    def __init__(self) -> None:
        self._made: dict[int, str] = {}

    def attr(self, attr: Attr) -> str:
        """`print_attr`."""
        if type(attr) is str or not is_declared(attr):
            return print_attr(attr)
        found = self._made.get(id(attr))
        if found is None:
            found = self._made[id(attr)] = print_attr(attr)
        return found

    def type(self, type: Type) -> str:
        """`str`."""
        found = self._made.get(id(type))
        if found is None:
            found = self._made[id(type)] = str(type)
        return found


class Namer:
    """Gives each value a name: its hint made unique, or a number."""

    def __init__(self, texts: Texts | None = None) -> None:
        self.texts = texts or Texts()
        self._names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}  # the last number behind each hint
        self._next = 0

    def name(self, value: Value) -> str:
        known = self._names.get(value)
        if known is not None:
            return known
        hint = value.hint
        if not _IDENT.match(hint):
            hint = re.sub(r"[^A-Za-z0-9_]", "_", hint)
        if not _IDENT.match(hint):
            name = str(self._next)
            self._next += 1
        else:
            name, n = hint, self._last.get(hint, 0)
            while name in self._taken:
                n += 1
                name = f"{hint}_{n}"
            self._last[hint] = n
        self._taken.add(name)
        self._names[value] = name
        return name


def print_op(op: Op, *, namer: Namer | None = None, indent: int = 0, locs: bool = False) -> str:
    """Text form of an op and all it contains."""
    namer = namer or Namer()
    pad = _INDENT * indent
    operands = ", ".join(["%" + namer.name(v) for v in op.operands])
    results = ", ".join(["%" + namer.name(v) for v in op.results])
    symbol = " " + _symbol(op.symbol) if op.symbol else ""
    line = f"{pad}{results + ' = ' if results else ''}{op.op_name}{symbol}({operands})"
    if op.attrs:
        line += " {" + ", ".join([f"{k} = {namer.texts.attr(v)}" for k, v in sorted(op.attrs.items())]) + "}"
    for region in op.regions:
        line += " " + _region(region, namer, indent, locs)
    line += " : (" + ", ".join([namer.texts.type(v.type) for v in op.results]) + ")"
    if locs and op.loc != UNKNOWN:
        line += f" loc({_loc(op.loc)})"
    return line


def _region(region: Region, namer: Namer, indent: int, locs: bool) -> str:
    args = ", ".join(f"%{namer.name(a)}: {namer.texts.type(a.type)}" for a in region.args)
    ops = "".join([print_op(o, namer=namer, indent=indent + 1, locs=locs) + "\n" for o in region.ops])
    return f"do ({args}) {{\n{ops}{_INDENT * indent}}}"


def _loc(loc: Loc) -> str:
    match loc:
        case Span(path, line, column, end_line, end_column, function):
            return print_attr((path, line, column, end_line, end_column, function))
        case Derived(by, sources):
            inner = ", ".join(_loc(s) for s in sources)
            return f"[{print_attr(by)}, [{inner}]]"
    return "none"


def print_module(module: Module, *, locs: bool = False) -> str:
    """Text form of a module; with `locs`, each op's location after it."""
    attrs = ""
    if module.attrs:
        attrs = " {" + ", ".join(f"{k} = {print_attr(v)}" for k, v in sorted(module.attrs.items())) + "}"
    texts = Texts()
    ops = "".join(print_op(op, namer=Namer(texts), indent=1, locs=locs) + "\n" for op in module.body.ops)
    return f"module {_symbol(module.name)}{attrs} {{\n{ops}}}\n"
