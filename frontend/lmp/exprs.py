"""Expressions to ops: names, literals, operators, fields, lists and records."""

from __future__ import annotations

from typing import Any

from lampc.frontend.lmp import ast, literals
from lampc.frontend.lmp.attributes import dotted
from lampc.frontend.lmp.body import Body
from lampc.frontend.lmp.env import FUNCTIONS, kind_of
from lampc.frontend.lmp.operands import OPERATORS, complaint, never_equal
from lampc.frontend.lmp.program import Predictor
from lampc.frontend.lmp.report import listed, suggest
from lampc.frontend.lmp.values import Lit, Val, type_of_val
from lampc.ir import ANY, BOOL, Choice, ListOf, Maybe, Record, Region, Span, Type
from lampc.ir.builtins import BuiltinError, apply
from lampc.ir.harmless import harmless
from lampc.ir.prog import Apply, FieldOf, If, MakeList, Pack, Yield
from lampc.ir.prog import Tune as TuneOp
from lampc.ir.types import spelled

_FOLDED = 10_000
"""Largest result (items or digits) that is computed while compiling."""


def evaluate(b: Body, expr: ast.Expr) -> Val:
    """Ops of an expression that gives one value."""
    match expr:
        case ast.Literal():
            return literal(b, expr)
        case ast.Var(span, name):
            return variable(b, name, span)
        case ast.ListOfExprs(span, items):
            return make_list(b, [evaluate(b, i) for i in items], [i.span for i in items], span)
        case ast.RecordOfExprs(span, args):
            return record(b, args, span)
        case ast.Get():
            return get(b, expr)
        case ast.Index(span, value, index):
            return operation(b, "index", [value, index], span)
        case ast.Slice(span, value, start, end):
            nothing = ast.Literal(span, "null", "null")
            return operation(b, "slice", [value, start or nothing, end or nothing], span)
        case ast.Unary(span, op, value):
            return operation(b, "not" if op == "not" else "neg", [value], span)
        case ast.Binary(span, "and" | "or" as op, left, right):
            return short(b, op, left, right, span)
        case ast.Binary(span, op, left, right):
            return operation(b, OPERATORS[op], [left, right], span)
        case ast.Call():
            from lampc.frontend.lmp.calls import call

            return call(b, expr)
    from lampc.frontend.lmp.control import branch

    results = branch(b, expr, 1)
    return results[0] if results else None


def literal(b: Body, expr: ast.Literal) -> Val:
    try:
        return Lit(literals.value(expr))
    except literals.BadLiteral as e:
        b.report.error("L0104", str(e), expr.span)
        return None


def variable(b: Body, name: str, span: Span) -> Val:
    """The value that a name stands for. Reports names that are unknown, out of sight, or no values."""
    binding = b.find(name)
    if binding is not None:
        binding.used = True
        return binding.value
    if name in b.tunes:
        b.tunes[name].used = True
        op = TuneOp.make(of=_symbol(b.tunes[name].symbol), type=b.tunes[name].type, hint=name)
        return b.emit(op, span).result
    if name in b.fields:
        return b.emit(FieldOf.make(b.fields[name], field=name, hint=name), span).result
    if name in b.env.file.lost:
        return None
    what = _other(b, name)
    if what:
        b.report.error("L0204", f"`{name}` is {what}, not a value", span, help=f"call it: `{name}(...)`")
    elif name in b.hidden:
        b.report.error(
            "L0209",
            f"`{name}` is not visible here",
            span,
            help="a block gives values to the outside by `yield`, a loop by `next`",
            also=[(b.hidden[name], "it lives in this block only")],
        )
    else:
        b.report.error("L0201", f"there is no value `{name}`", span, help=suggest(name, b.visible()))
    return None


def _symbol(name: str) -> Any:
    from lampc.ir import Symbol

    return Symbol(name)


def _other(b: Body, name: str) -> str:
    if name in b.uses:
        return "a predictor" if isinstance(b.uses[name], Predictor) else "a module"
    if name in b.env.decls:
        return kind_of(b.env.decls[name])
    return "a built-in function" if name in FUNCTIONS else ""


def make_list(b: Body, vals: list[Val], spans: list[Span], span: Span) -> Val:
    """A list: a literal if all items are, else an op."""
    if all(isinstance(v, Lit) for v in vals):
        return Lit([v.value for v in vals if isinstance(v, Lit)])
    made = b.values(vals, spans)
    if made is None or b.common([v.type for v in made], span, "the items of this list") is None:
        return None
    return b.emit(MakeList.make(*made), span).result


def record(b: Body, args: list[ast.Arg], span: Span) -> Val:
    """A record: a literal if all fields are, else an op."""
    names: list[str] = []
    for arg in args:
        name = arg.name.name if arg.name else ""
        if name in names:
            b.report.error("L0403", f"`{name}` is given twice", arg.span)
            return None
        if arg.name and not literals.WORD.match(name):
            b.report.error("L0417", f"{name!r} cannot be the name of a field", arg.name.span)
            return None
        names.append(name)
    vals = [evaluate(b, a.value) for a in args]
    if vals and all(isinstance(v, Lit) for v in vals):
        return Lit({n: v.value for n, v in zip(names, vals, strict=True) if isinstance(v, Lit)})
    made = b.values(vals, [a.value.span for a in args])
    return None if made is None else b.emit(Pack.make(*made, names=tuple(names)), span).result


def get(b: Body, expr: ast.Get) -> Val:
    """A field of a record, or a column of a list of records."""
    path = dotted(expr)
    head = (path or "").partition(".")[0]
    if path and b.find(head) is None and head in b.env.imports:
        found = b.env.lookup(path, expr.span, "value")
        if found is not None:
            b.report.error("L0204", f"`{path}` is {kind_of(found[2])}, not a value", expr.span)
        return None
    val = evaluate(b, expr.value)
    if val is None:
        return None
    name, t = expr.name.name, type_of_val(val)
    item = t.item if isinstance(t, ListOf) else t
    if isinstance(item, Record):
        if item.get(name) is None:
            help = suggest(name, item.names()) or f"its fields are {listed(item.names())}"
            b.report.error("L0303", f"there is no field `{name}` in {item}", expr.name.span, help=help)
            return None
    elif item != ANY:
        help = "`coalesce(value, default)` gives a value that is surely there" if isinstance(item, Maybe) else ""
        if name in FUNCTIONS:
            help = f"built-in functions stand in front: `{name}(...)`"
        b.report.error("L0304", f"{spelled(t)} has no fields", expr.name.span, help=help)
        return None
    if isinstance(val, Lit) and isinstance(val.value, dict):
        return Lit(val.value[name])
    made = b.value(val, expr.value.span)
    return None if made is None else b.emit(FieldOf.make(made, field=name, hint=name), expr.span).result


def operation(b: Body, fn: str, operands: list[ast.Expr], span: Span) -> Val:
    """A built-in function of expressions."""
    return applied(b, fn, [evaluate(b, o) for o in operands], [o.span for o in operands], span)


def applied(b: Body, fn: str, vals: list[Val], spans: list[Span], span: Span) -> Val:
    """A built-in function of values; computed now if all are literals."""
    if any(v is None for v in vals):
        return None
    types = [type_of_val(v) for v in vals]
    wrong = complaint(fn, types)
    if wrong is not None:
        i, why = wrong
        b.report.error("L0302", why, spans[i], help=_help(fn, types))
        return None
    if fn in ("eq", "ne"):
        _warn_never(b, fn, vals, types, span)
    if all(isinstance(v, Lit) for v in vals):
        return _folded(b, fn, [v.value for v in vals if isinstance(v, Lit)], span)
    made = b.values(vals, spans)
    return None if made is None else b.emit(Apply.make(*made, fn=fn), span).result


def short(b: Body, op: str, left: ast.Expr, right: ast.Expr, span: Span) -> Val:
    """`and`, `or`: the right side runs only where the left one leaves it open, unless running it does no harm."""
    first = evaluate(b, left)
    if isinstance(first, Lit) and isinstance(first.value, bool):
        return evaluate(b, right) if first.value == (op == "and") else first
    region = Region()
    with b.inside(region):
        second = evaluate(b, right)
        other = b.value(second, right.span)
    if first is None or second is None or other is None:
        return None
    wrong = complaint(op, [first.type, other.type])
    if wrong is not None:
        types = [first.type, other.type]
        b.report.error("L0302", wrong[1], (left, right)[wrong[0]].span, help=_help(op, types))
        return None
    known = b.value(first, left.span)
    assert known is not None
    if known.type == BOOL and other.type == BOOL and all(map(harmless, region.ops)):
        for made in region.ops:
            b.region.append(made)
        return b.emit(Apply.make(known, other, fn=op), span).result
    region.append(Yield.make(other, loc=right.span))
    decided = Region()
    with b.inside(decided):
        given = b.constant(op == "or", span, BOOL) if known.type == BOOL else known
        b.emit(Yield.make(given), span)
    sides = [region, decided] if op == "and" else [decided, region]
    return b.emit(If.make(known, regions=sides), span).result


def _help(fn: str, types: list[Type]) -> str:
    if fn == "add" and _textual(types):
        return "`str(x)` makes a text of a value, `concat(a, b)` joins any"
    if fn in ("and", "or", "not"):
        return "compare first: `len(x) > 0`, `x == 1`"
    if any(isinstance(t, Maybe) for t in types):
        return "`coalesce(value, default)` gives a value that is surely there"
    return ""


def _textual(types: list[Type]) -> bool:
    from lampc.frontend.lmp.values import is_text

    return any(is_text(t) for t in types)


def _warn_never(b: Body, fn: str, vals: list[Val], types: list[Type], span: Span) -> None:
    outcome = "false" if fn == "eq" else "true"
    for val, other in ((vals[0], types[1]), (vals[1], types[0])):
        if isinstance(val, Lit) and isinstance(other, Choice) and isinstance(val.value, str):
            if val.value not in other.options:
                help = suggest(val.value, other.options) or f"it is one of {listed(other.options)}"
                b.report.warn(
                    "L0305", f"this is always {outcome}: {spelled(other)} is never {val.value!r}", span, help=help
                )
            return
    if never_equal(types[0], types[1]):
        b.report.warn(
            "L0305", f"this is always {outcome}: {spelled(types[0])} is never equal to {spelled(types[1])}", span
        )


def _folded(b: Body, fn: str, values: list[Any], span: Span) -> Val:
    big = [v for v in values if isinstance(v, int) and abs(v) > _FOLDED]
    if fn in ("pow", "range", "mul") and big:
        made = b.values([Lit(v) for v in values], [span] * len(values))
        return None if made is None else b.emit(Apply.make(*made, fn=fn), span).result
    try:
        return Lit(apply(fn, values))
    except BuiltinError as e:
        b.report.error("L0306", f"this cannot be computed: {e}", span)
        return None


def condition(b: Body, expr: ast.Expr) -> Val:
    """A truth value. Reports L0509 for a value of another type."""
    val = evaluate(b, expr)
    t = type_of_val(val)
    if val is not None and t not in (BOOL, ANY):
        b.report.error(
            "L0509", f"a condition is true or false, this is {spelled(t)}", expr.span, help=_help("not", [t])
        )
        return None
    if isinstance(val, Lit):
        word = "true" if val.value else "false"
        b.report.warn("L0512", f"this condition is always {word}", expr.span)
    return val
