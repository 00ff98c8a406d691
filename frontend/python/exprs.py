"""Tracing expressions: what is known now is computed now, the rest becomes ops."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from lampc.frontend.python.declare import Tune
from lampc.frontend.python.displays import Displays
from lampc.frontend.python.example import Prediction
from lampc.frontend.python.kept import has_records, kept
from lampc.frontend.python.loops import Iteration
from lampc.frontend.python.traced import Completions, Local, Traced, Unusable, is_static
from lampc.ir import HostRef, Region, Value, prog
from lampc.ir.diag import there_are
from lampc.ir.harmless import harmless
from lampc.ir.hostvalues import has_hosts
from lampc.ir.types import ANY, BOOL, INT, STR, Choice, ListOf, MapOf, Record, Type, spelled

_BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("add", operator.add),
    ast.Sub: ("sub", operator.sub),
    ast.Mult: ("mul", operator.mul),
    ast.Div: ("div", operator.truediv),
    ast.Mod: ("mod", operator.mod),
    ast.FloorDiv: ("floordiv", operator.floordiv),
    ast.Pow: ("pow", operator.pow),
    ast.BitAnd: ("", operator.and_),
    ast.BitOr: ("", operator.or_),
    ast.BitXor: ("", operator.xor),
    ast.LShift: ("", operator.lshift),
    ast.RShift: ("", operator.rshift),
    ast.MatMult: ("", operator.matmul),
}
_COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Eq: ("eq", operator.eq),
    ast.NotEq: ("ne", operator.ne),
    ast.Lt: ("lt", operator.lt),
    ast.LtE: ("le", operator.le),
    ast.Gt: ("gt", operator.gt),
    ast.GtE: ("ge", operator.ge),
    ast.In: ("in", lambda a, b: a in b),
    ast.NotIn: ("not in", lambda a, b: a not in b),
    ast.Is: ("is", operator.is_),
    ast.IsNot: ("is not", operator.is_not),
}


class Expressions(Displays):
    """Expressions by the class of their syntax node."""

    def expr(self, node: ast.expr) -> Any:
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise self.stop("L0712", node, f"`{type(node).__name__}` expressions are not followed")
        return method(node)

    # -- names and constants ----------------------------------------------------------------------------

    def _Constant(self, node: ast.Constant) -> Any:
        return node.value

    def _Name(self, node: ast.Name) -> Any:
        try:
            value = self.frame.find(node.id)
        except KeyError:
            raise self.stop("L0712", node, f"`{node.id}` has no value here") from None
        if isinstance(value, Unusable):
            raise self.stop("L0714", node, value.why)
        return value

    def _NamedExpr(self, node: ast.NamedExpr) -> Any:
        value = self.expr(node.value)
        self.assign(node.target, value)
        return value

    def _Lambda(self, node: ast.Lambda) -> Any:
        return Local(node, self.frame)

    # -- attributes and items ---------------------------------------------------------------------------

    def _Attribute(self, node: ast.Attribute) -> Any:
        return self.attribute(self.expr(node.value), node.attr, node)

    def attribute(self, value: Any, name: str, node: ast.AST) -> Any:
        """`value.name`."""
        if isinstance(value, Completions):
            if name == "completions":
                return Traced(value.rows)
            value = Traced(self.first(value, node))
        if isinstance(value, Traced):
            t = value.type
            if name.startswith("__"):
                raise self.stop("L0712", node, f"attribute `{name}`, which belongs to Python")
            column = isinstance(t, ListOf) and isinstance(t.item, Record) and t.item.get(name) is not None
            if isinstance(t, Record) and t.get(name) is None:
                if name == "completions":
                    return Traced(self.emit(prog.MakeList, value.value, node=node).result)
                if t.host:
                    raise self.stop("L0712", node, f"`{name}` of an object of class `{t.host.rpartition(':')[2]}`")
                if hasattr(Prediction, name) or hasattr(dict, name):
                    raise self.stop("L0712", node, f"`{name}` of a record, a method that is not called here")
                raise self.fail(node, f"there is no field `{name}`; {there_are(t.names())}")
            if isinstance(t, Record) and not t.host and hasattr(Prediction, name):
                raise self.stop("L0712", node, f"`{name}` of a prediction is its method, not its field", f'["{name}"]')
            if not (column or isinstance(t, Record | MapOf) or (t == ANY and not name.startswith("__"))):
                raise self.stop("L0712", node, f"attribute `{name}` of a value of type {spelled(t)}")
            return self.get(value, name, node)
        if not is_static(value):
            raise self.stop("L0712", node, f"attribute `{name}` of this value")
        try:
            return getattr(value, name)
        except AttributeError as e:
            raise self.stop("L0712", node, str(e)) from None

    def _Subscript(self, node: ast.Subscript) -> Any:
        value = self.expr(node.value)
        if isinstance(node.slice, ast.Slice):
            return self._slice(value, node.slice, node)
        return self.item(value, self.expr(node.slice), node)

    def item(self, value: Any, index: Any, node: ast.AST) -> Any:
        """`value[index]`."""
        if isinstance(value, Completions):
            value = Traced(self.first(value, node))
        if isinstance(value, Traced) and isinstance(index, str):
            return self.attribute(value, index, node)
        if isinstance(value, Traced) and isinstance(value.type, MapOf) and value.type.key != STR:
            raise self.stop("L0712", node, f"a key of a value of type {spelled(value.type)}")
        if not isinstance(value, Traced) and is_static(index):
            plain = index.value if isinstance(index, Tune) else index
            try:
                return value[plain]
            except Exception as e:
                if not isinstance(value, str | list | tuple):
                    raise self.stop("L0712", node, f"{type(e).__name__}: {e}") from None
        return self.apply("index", value, index, node=node)

    def _slice(self, value: Any, s: ast.Slice, node: ast.AST) -> Any:
        lower, upper, step = (None if p is None else self.expr(p) for p in (s.lower, s.upper, s.step))
        if not isinstance(value, Traced | Completions) and is_static((lower, upper, step)):
            return value[lower:upper:step]
        if step == -1 and lower is None and upper is None:
            return self.apply("reversed", value, node=node)
        if step is not None:
            raise self.stop("L0712", node, "a slice with a step")
        return self.apply("slice", value, lower, upper, node=node)

    # -- operators --------------------------------------------------------------------------------------

    def _BinOp(self, node: ast.BinOp) -> Any:
        return self.binary(node.op, self.expr(node.left), self.expr(node.right), node)

    def binary(self, op: ast.operator, a: Any, b: Any, node: ast.AST) -> Any:
        fn, function = _BINARY[type(op)]
        if not self._symbolic(a) and not self._symbolic(b) and isinstance(a, tuple) == isinstance(b, tuple):
            try:
                return function(a, b)
            except Exception:
                if not (is_static(a) and is_static(b)):
                    raise self.stop("L0712", node, "an operator on these values") from None
        if _is_set(a) or _is_set(b):
            raise self.stop("L0712", node, "an operator on a set")
        if fn == "mod" and (isinstance(a, str) or (isinstance(a, Traced) and a.type == STR)):
            raise self.stop("L0712", node, "`%` formatting", "write an f-string")
        if fn == "add" and a == [] and isinstance(b, Traced) and isinstance(b.type, ListOf):
            return b
        if not fn:
            kinds = {self.lift(v, node).type for v in (a, b)}
            return self.host(f"operator:{function.__name__}", [a, b], node, INT if kinds == {INT} else ANY)
        return self.apply(fn, a, b, node=node)

    def _symbolic(self, value: Any) -> bool:
        return isinstance(value, Traced | Completions | Tune)

    def _UnaryOp(self, node: ast.UnaryOp) -> Any:
        value = self.expr(node.operand)
        if isinstance(node.op, ast.Not):
            return self.negate(value, node)
        if not self._symbolic(value) and is_static(value):
            table: dict[type[ast.unaryop], Callable[[Any], Any]] = {
                ast.USub: operator.neg,
                ast.UAdd: operator.pos,
                ast.Invert: operator.invert,
            }
            return table[type(node.op)](value)
        if isinstance(node.op, ast.Invert):
            return self.host("operator:invert", [value], node, INT)
        return value if isinstance(node.op, ast.UAdd) else self.apply("neg", value, node=node)

    def negate(self, value: Any, node: ast.AST) -> Any:
        """`not value`."""
        if not self._symbolic(value):
            return not value
        return self.apply("not", value, node=node)

    def truth(self, value: Any, node: ast.AST) -> Any:
        """`value` as a condition: True or False if known now, else a value."""
        if not self._symbolic(value):
            if isinstance(value, list | dict | tuple):
                return bool(value)
            return bool(value) if is_static(value) else True
        if isinstance(value, Tune):
            return Traced(self.lift(value, node))
        return value

    def _Compare(self, node: ast.Compare) -> Any:
        left = self.expr(node.left)
        result: Any = True
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.expr(right_node)
            this = self.compare(op, left, right, node)
            result = this if result is True else self._both(result, this, node)
            left = right
        return result

    def compare(self, op: ast.cmpop, a: Any, b: Any, node: ast.AST) -> Any:
        fn, function = _COMPARE[type(op)]
        if not self._symbolic(a) and not self._symbolic(b) and is_static(a) and is_static(b):
            return function(a, b)
        if (_is_set(a) or _is_set(b)) and fn not in ("in", "not in"):
            raise self.stop("L0712", node, "comparing sets")
        if fn in ("lt", "le", "gt", "ge") and any(isinstance(getattr(v, "type", None), Record) for v in (a, b)):
            raise self.stop("L0712", node, "an order of records")
        if fn in ("is", "is not"):
            if a not in (None, True, False) and b not in (None, True, False):
                raise self.stop("L0712", node, "`is` between values of the program", "write ==")
            fn = "eq" if fn == "is" else "ne"
        if fn == "not in":
            return self.apply("not", self.apply("in", a, b, node=node), node=node)
        return self.apply(fn, a, b, node=node)

    def _both(self, a: Any, b: Any, node: ast.AST) -> Any:
        if isinstance(a, Traced) and isinstance(b, Traced):
            return self.apply("and", a, b, node=node)
        return (b if a else False) if not isinstance(a, Traced) else (a if b else False)

    def _BoolOp(self, node: ast.BoolOp) -> Any:
        return self._short(node.op, self.expr(node.values[0]), node.values[1:], node)

    def _short(self, op: ast.boolop, first: Any, rest: list[ast.expr], node: ast.AST) -> Any:
        """`first and ...` or `first or ...`, with the short cut that Python takes."""
        if not rest:
            return first
        both = isinstance(op, ast.And)
        known = self.truth(first, node)
        if not isinstance(known, Traced):
            return self._short(op, self.expr(rest[0]), rest[1:], node) if known is both else first
        region = Region()
        with self.inside(region):
            second = self._short(op, self.expr(rest[0]), rest[1:], node)
            other = self.lift(second, node)
        if known.type == BOOL and other.type == BOOL and all(map(harmless, region.ops)):
            self.splice(region)
            return self.apply("and" if both else "or", known, Traced(other), node=node)
        this = Region()
        if known.type == BOOL and both:
            with self.inside(this):
                keep = self.const(False, node)
        elif known.type == BOOL:
            with self.inside(this):
                keep = self.const(True, node)
        else:
            keep = known.value
        return self.choose(known.value, (region, other), (this, keep), node, swap=not both)

    def choose(
        self, test: Value, then: tuple[Region, Value], orelse: tuple[Region, Value], node: ast.AST, swap: bool = False
    ) -> Traced:
        """A value by a condition; each side is the region that computes it and the value."""
        if swap:
            then, orelse = orelse, then
        for region, value in (then, orelse):
            with self.inside(region):
                self.emit(prog.Yield, value, node=node)
        return Traced(self.emit(prog.If, test, node=node, regions=[then[0], orelse[0]]).outs[0])

    def splice(self, region: Region) -> None:
        """Move the ops of `region` here."""
        for op in region.ops:
            self.region.append(op)
        region.ops = []

    def _IfExp(self, node: ast.IfExp) -> Any:
        test = self.truth(self.expr(node.test), node.test)
        if not isinstance(test, Traced):
            return self.expr(node.body if test else node.orelse)
        sides = []
        for part in (node.body, node.orelse):
            region = Region()
            with self.inside(region):
                sides.append((region, self.lift(self.expr(part), part)))
        return self.choose(test.value, sides[0], sides[1], node)

    # -- texts ------------------------------------------------------------------------------------------

    def _JoinedStr(self, node: ast.JoinedStr) -> Any:
        parts: list[Any] = []
        for part in node.values:
            text = part.value if isinstance(part, ast.Constant) else self._formatted(part)
            if parts and isinstance(text, str) and isinstance(parts[-1], str):
                parts[-1] += text
            else:
                parts.append(text)
        if all(isinstance(p, str) for p in parts):
            return "".join(parts)
        return self.apply("concat", *parts, node=node)

    def _formatted(self, part: ast.expr) -> Any:
        assert isinstance(part, ast.FormattedValue)
        value = self.expr(part.value)
        spec = self.expr(part.format_spec) if part.format_spec else ""
        if not self._symbolic(value) and is_static(value) and isinstance(spec, str):
            convert: dict[int, Callable[[Any], str]] = {115: str, 114: repr, 97: ascii}
            shown = convert[part.conversion](value) if part.conversion in convert else value
            return format(shown, spec)
        if isinstance(value, Traced):
            self.readable(value.value, part)
        if part.conversion in (114, 97):
            value = self.host("builtins:repr" if part.conversion == 114 else "builtins:ascii", [value], part, STR)
        if spec != "":
            return self.host("builtins:format", [value, spec], part, STR)
        return self.text(value, part)

    def text(self, value: Any, node: ast.AST) -> Any:
        """`value` as Python's `str` writes it, or itself where built-in joining writes the same."""
        lifted = self.lift(value, node)
        self.readable(lifted, node)
        if has_hosts(lifted.type):
            return self.host("builtins:str", [Traced(lifted)], node, STR)
        if lifted.type in (STR, INT) or isinstance(lifted.type, Choice):
            return Traced(lifted)
        return self.apply("pystr", Traced(lifted), node=node)

    def readable(self, value: Value, node: ast.AST) -> None:
        """Raises Untraceable for the text of a prediction, which is not that of its fields."""
        if has_records(value.type) and not kept(self.context, value):
            raise self.stop("L0712", node, "the text of a prediction", "write the text of its fields")

    # -- comprehensions ---------------------------------------------------------------------------------

    def _ListComp(self, node: ast.ListComp | ast.GeneratorExp) -> Any:
        return Iteration(self, node).comprehension(node.elt, node.generators)

    _GeneratorExp = _ListComp

    def _SetComp(self, node: ast.SetComp) -> Any:
        known, value = self.known(lambda: set(Iteration(self, node).unrolled(node.elt, node.generators)))
        if known:
            return value
        raise self.stop("L0712", node, "a set comprehension over values of the program", "write a list comprehension")

    def _DictComp(self, node: ast.DictComp) -> Any:
        pair = ast.copy_location(ast.Tuple([node.key, node.value], ast.Load()), node)
        pairs = Iteration(self, node).unrolled(pair, node.generators)
        if not all(is_static(k) for k, _ in pairs):
            raise self.stop("L0712", node, "a dict whose keys are values of the program")
        values = dict(pairs)
        return values if is_static(values) else self.pack(values, node)

    # -- calls ------------------------------------------------------------------------------------------

    def host(self, target: str, args: list[Any], node: ast.AST, returns: Type) -> Traced:
        """A call of a pure function of Python's own library."""
        values = [self.lift(a, node) for a in args]
        ref = HostRef(target)
        return Traced(self.emit(prog.Py, *values, node=node, ref=ref, effect="pure", returns=returns).result)


def _is_set(value: Any) -> bool:
    """Whether a value is a set in Python: in a graph it is a list."""
    made = value.value.defining_op() if isinstance(value, Traced) else None
    if isinstance(made, prog.Py):
        return made.ref.target in ("builtins:set", "builtins:frozenset")
    return isinstance(value, set | frozenset)
