"""Tracing statements: assignments, jumps, and what changes a list in place."""

from __future__ import annotations

import ast
import builtins
import copy
import re
from typing import Any, TypeGuard

from lampc.frontend.python.annotations import BadType, to_type
from lampc.frontend.python.calls import Calls
from lampc.frontend.python.liveness import MUTATORS, jumps, live_before
from lampc.frontend.python.traced import Exit, Local, Traced, is_static
from lampc.ir import Region, Value, prog
from lampc.ir.types import ANY, Record

_SILENT = re.compile(r"_\d*\Z")
"""Names that only tell versions of one value apart, or say that it is not wanted."""


def _now() -> int:
    """A mark in time: values made later have a larger serial number."""
    return Value(ANY, Region(), 0).serial


class Statements(Calls):
    """Statements one after another; `branches` and `rounds` handle what splits the flow."""

    def block(self, statements: list[ast.stmt], after: frozenset[str]) -> Exit | None:
        """Run statements. Gives how they left the block, or None if they ran to its end.

        `after` are the names that are live behind the block.
        """
        for i, s in enumerate(statements):
            rest = statements[i + 1 :]
            live = live_before(rest, after, self.frame.loop or frozenset())
            if jumps(s):
                return self.split(s, rest, live, after)
            end = self.statement(s, live)
            if end is not None:
                return end
        return None

    def split(self, s: ast.stmt, rest: list[ast.stmt], live: frozenset[str], after: frozenset[str]) -> Exit | None:
        """A statement that may leave the block, and all that follows it in the block, where it does not."""
        raise NotImplementedError

    def statement(self, s: ast.stmt, live: frozenset[str]) -> Exit | None:
        method = getattr(self, f"_{type(s).__name__}", None)
        if method is None:
            what = type(s).__name__.lower().replace("asyncf", "async f")
            raise self.stop("L0711", s, f"`{what}` statements are not followed")
        found: Exit | None = method(s, live)
        return found

    # -- simple ones --------------------------------------------------------------------------------------

    def _Pass(self, s: ast.Pass, live: frozenset[str]) -> None:
        return None

    def _Expr(self, s: ast.Expr, live: frozenset[str]) -> None:
        call = s.value
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in MUTATORS
            and isinstance(call.func.value, ast.Name)
            and isinstance(self.frame.names.get(call.func.value.id), Traced | list | dict)
        ):
            self._change(call.func.value.id, call.func.attr, call)
        elif not isinstance(call, ast.Constant):
            self.expr(call)

    def _Assign(self, s: ast.Assign, live: frozenset[str]) -> None:
        self.since = _now()
        value = self.expr(s.value)
        for target in s.targets:
            self.assign(target, value)

    def _AnnAssign(self, s: ast.AnnAssign, live: frozenset[str]) -> None:
        if isinstance(s.target, ast.Name):
            try:
                self.frame.types[s.target.id] = to_type(ast.unparse(s.annotation), self.frame.source.outer)
            except BadType:
                self.frame.types.pop(s.target.id, None)
        if s.value is not None:
            self.since = _now()
            self.assign(s.target, self.expr(s.value))

    def _AugAssign(self, s: ast.AugAssign, live: frozenset[str]) -> None:
        if isinstance(s.target, ast.Attribute):
            raise self.stop("L0717", s, "assigning to an attribute")
        target = copy.copy(s.target)
        target.ctx = ast.Load()
        old = self.expr(target)
        if isinstance(s.target, ast.Name) and isinstance(old, list | dict):
            self._may_change(s.target.id, s)
        new = self.expr(s.value)
        if isinstance(old, list) and isinstance(new, tuple):
            new = list(new)
        self.assign(s.target, self.binary(s.op, old, new, s))

    def assign(self, target: ast.expr, value: Any) -> None:
        """Bind a target to a value."""
        match target:
            case ast.Name(id=name):
                if isinstance(value, Traced) and value.value.defining_op() and value.value.serial >= self.since:
                    value.value.hint = "" if name in self.frame.names or _SILENT.match(name) else name
                self.context.named(name, value)
                self.frame.names[name] = value
            case ast.Tuple(elts=elts) | ast.List(elts=elts):
                self._unpack(elts, value, target)
            case ast.Subscript():
                self._set_item(target, value)
            case ast.Attribute():
                raise self.stop("L0717", target, f"assigning to attribute `{target.attr}` keeps state between runs")
            case _:
                raise self.stop("L0711", target, "assigning to this target")

    def _unpack(self, elts: list[ast.expr], value: Any, node: ast.AST) -> None:
        if any(isinstance(e, ast.Starred) for e in elts):
            if not isinstance(value, tuple | list):
                raise self.stop("L0711", node, "a starred target")
            at = next(i for i, e in enumerate(elts) if isinstance(e, ast.Starred))
            behind = len(elts) - at - 1
            middle = list(value[at : len(value) - behind])
            star = elts[at]
            assert isinstance(star, ast.Starred)
            elts = [*elts[:at], star.value, *elts[at + 1 :]]
            value = (*value[:at], middle, *value[len(value) - behind :])
        if not isinstance(value, Traced):
            try:
                items = list(value)
            except TypeError:
                raise self.stop("L0712", node, "this value cannot be taken apart") from None
            if len(items) != len(elts):
                raise self.stop("L0712", node, f"{len(elts)} targets for {len(items)} values")
        else:
            items = [self.apply("index", value, i, node=node) for i in range(len(elts))]
        for e, v in zip(elts, items, strict=True):
            self.assign(e, v)

    # -- changes in place, as new values ------------------------------------------------------------------

    def _may_change(self, name: str, node: ast.AST) -> None:
        if name in self.frame.shared or name not in self.frame.names:
            raise self.stop(
                "L0715", node, f"`{name}` is changed in place, and may be known under another name",
                f"make a new list: {name} = {name} + [...]",
            )  # fmt: skip

    def _set_item(self, target: ast.Subscript, value: Any) -> None:
        if not isinstance(target.value, ast.Name):
            raise self.stop("L0715", target, "changing an item of something that is not a name")
        name = target.value.id
        self._may_change(name, target)
        old = self.frame.names[name]
        index = self.expr(target.slice)
        if isinstance(index, str) and (isinstance(old, dict) or isinstance(getattr(old, "type", None), Record)):
            values = {**self.fields(old, target), index: value}
            self.frame.names[name] = values if is_static(values) else self.pack(values, target)
        elif isinstance(old, dict) and is_static(index) and is_static(value):
            self.frame.names[name] = {**old, index: value}
        elif isinstance(old, list) and is_static(index) and is_static(value):
            changed = list(old)
            changed[index] = value
            self.frame.names[name] = changed
        elif isinstance(index, int) and index >= 0:
            before = self.apply("slice", old, None, index, node=target)
            behind = self.apply("slice", old, index + 1, None, node=target)
            middle = self.apply("add", before, [value], node=target)
            self.assign(target.value, self.apply("add", middle, behind, node=target))
        else:
            raise self.stop("L0715", target, "changing an item whose place is only known at run time")

    def _change(self, name: str, method: str, call: ast.Call) -> None:
        self._may_change(name, call)
        old = self.frame.names[name]
        args, kwargs = self.arguments(call)
        if kwargs or not (isinstance(old, list) or (isinstance(old, Traced) and not isinstance(old.type, Record))):
            raise self.stop("L0715", call, f"`.{method}` of this value")
        new: Any = _changed_now(old, method, args) if isinstance(old, list) and is_static(args) else None
        if new is None:
            match method, args:
                case ("append", [x]):
                    new = Traced(self.lift([x], call)) if old == [] else self.apply("add", old, [x], node=call)
                case ("extend", [xs]):
                    new = self.binary(ast.Add(), old, xs, call)
                case ("clear", []):
                    new = []
                case ("sort", []):
                    new = self.apply("sorted", old, node=call)
                case ("reverse", []):
                    new = self.apply("reversed", old, node=call)
                case ("insert", [0, x]):
                    new = self.apply("add", [x], old, node=call)
                case _:
                    raise self.stop("L0715", call, f"`.{method}` is not followed")
        self.assign(ast.copy_location(ast.Name(name, ast.Store()), call), new)

    # -- others -------------------------------------------------------------------------------------------

    def _Assert(self, s: ast.Assert, live: frozenset[str]) -> None:
        test = self.truth(self.expr(s.test), s.test)
        message = self.expr(s.msg) if s.msg else "assertion failed"
        if test is True:
            return
        if not isinstance(message, str):
            raise self.stop("L0711", s, "a message that is made of values")
        self.emit(prog.Assert, self.lift(test, s), node=s, message=message)

    def _Raise(self, s: ast.Raise, live: frozenset[str]) -> Exit:
        made = s.exc if isinstance(s.exc, ast.Call) else None
        name, args = (made.func, made.args) if made else (s.exc, [])
        texts = [a.value for a in args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        cls = self.expr(name) if isinstance(name, ast.Name) else None
        plain = len(texts) == len(args) <= 1 and not (made and made.keywords)
        if not plain or not builtin_exception(cls):
            raise self.stop("L0711", s, "an exception that is more than a built-in class and a text")
        message = ": ".join([cls.__name__, *texts])
        self.emit(prog.Assert, self.const(False, s), node=s, message=message)
        return Exit(returned=True, dead=True)

    def _FunctionDef(self, s: ast.FunctionDef, live: frozenset[str]) -> None:
        if s.decorator_list:
            raise self.stop("L0711", s, "an inner function with decorators")
        self.frame.names[s.name] = Local(s, self.frame)

    def _import(self, s: ast.Import | ast.ImportFrom, live: frozenset[str]) -> None:
        names: dict[str, Any] = {}
        code = compile(ast.Module([s], []), self.frame.source.path, "exec")
        try:
            exec(code, dict(self.frame.source.outer), names)
        except ImportError as e:
            raise self.stop("L0712", s, str(e)) from None
        self.frame.names.update(names)

    _Import = _import
    _ImportFrom = _import

    def _Global(self, s: ast.Global | ast.Nonlocal, live: frozenset[str]) -> None:
        raise self.stop("L0717", s, f"`{type(s).__name__.lower()}` keeps state outside of the function")

    _Nonlocal = _Global


def _changed_now(old: list[Any], method: str, args: list[Any]) -> list[Any] | None:
    """A known list as it is after a call of one of its methods, or None if that fails."""
    new = list(old)
    try:
        getattr(new, method)(*args)
    except Exception:
        return None
    return new


def builtin_exception(cls: Any) -> TypeGuard[type[Exception]]:
    """Whether it is a class that its name stands for anywhere, and that is made of one text."""
    known = isinstance(cls, type) and issubclass(cls, Exception) and not issubclass(cls, UnicodeError | ExceptionGroup)
    return known and getattr(builtins, cls.__name__, None) is cls
