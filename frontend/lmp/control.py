"""Branches and maps to regions."""

from __future__ import annotations

from lampc.frontend.lmp import ast, literals
from lampc.frontend.lmp.body import Body, hint
from lampc.frontend.lmp.exprs import condition, evaluate
from lampc.frontend.lmp.report import listed, suggest
from lampc.frontend.lmp.values import Lit, Val, fits, type_of_val
from lampc.ir import ANY, INT, Choice, ListOf, Maybe, Region, Span, Type
from lampc.ir.prog import Const, If, Map, Match, Yield
from lampc.ir.types import spelled


def branch(b: Body, expr: ast.Expr | ast.If | ast.Match, results: int) -> list[Val]:
    """An `if`, `match` or `map` that gives `results` values (0: a statement)."""
    match expr:
        case ast.Cond(span, cond, then, orelse):
            return _if(b, cond, _Arm(then), _Arm(orelse), 1, span)
        case ast.If(span, cond, then, orelse):
            return _if(b, cond, _Arm(then), _Arm(orelse), results, span)
        case ast.Match():
            return _match(b, expr, results)
        case ast.Map():
            return [_map(b, expr)]
    raise AssertionError(type(expr).__name__)


class _Arm:
    """One side of a branch: an expression, a block, another `if`, or nothing."""

    def __init__(self, body: ast.Expr | ast.Block | ast.If | None) -> None:
        self.body = body

    def build(self, b: Body, results: int, span: Span) -> tuple[Region, list[Type] | None]:
        """The region and the types of what it yields (None after an error)."""
        region = Region()
        with b.inside(region):
            if isinstance(self.body, ast.Block):
                return region, _block(b, self.body, results)
            if self.body is None:
                return region, b.give([], [], span)
            if isinstance(self.body, ast.If | ast.Match):
                vals = branch(b, self.body, results)
                if len(vals) != results:
                    return region, None
            else:
                vals = [evaluate(b, self.body)]
            at = self.body.span
            return region, b.give(vals, [at] * len(vals), at)


def _block(b: Body, block: ast.Block, results: int) -> list[Type] | None:
    from lampc.frontend.lmp.statements import statements

    body, end = split(b, block.body)
    statements(b, body, [end])
    if end is None:
        if results:
            b.report.error(
                "L0503",
                f"this block gives no value, {number(results)} wanted",
                closing(block),
                help="end it with `yield ...;`",
            )
            return None
        return b.give([], [], block.span)
    if not isinstance(end, ast.Yield):
        misplaced(b, end)
        return None
    vals = [evaluate(b, v) for v in end.values]
    if results == 0:
        b.report.error("L0503", "nothing takes this value", end.span, help="write `let name = if ... ;` to keep it")
        return None
    if len(vals) != results:
        b.report.error("L0510", f"this block gives {number(len(vals))}, {number(results)} wanted", end.span)
        return None
    return b.give(vals, [v.span for v in end.values], end.span)


def number(values: int) -> str:
    return "1 value" if values == 1 else f"{values} values"


def closing(block: ast.Block) -> Span:
    s = block.span
    return Span(s.path, s.end_line, max(1, s.end_column - 1), s.end_line, s.end_column)


def split(b: Body, body: list[ast.Stmt]) -> tuple[list[ast.Stmt], ast.Stmt | None]:
    """Statements before the first `yield`, `next` or `return`, and that one. Reports what stands behind it."""
    for i, stmt in enumerate(body):
        if isinstance(stmt, ast.Yield | ast.Next | ast.Return):
            if i + 1 < len(body):
                word = type(stmt).__name__.lower()
                b.report.error("L0502", f"nothing after `{word}` is ever run", body[i + 1].span)
            return body[:i], stmt
    return body, None


def misplaced(b: Body, stmt: ast.Stmt) -> None:
    if isinstance(stmt, ast.Return):
        help = "give the value by `yield`, and return it at the end of the module"
        b.report.error("L0511", "`return` stands at the end of a module", stmt.span, help=help)
    elif isinstance(stmt, ast.Next):
        b.report.error("L0506", "`next` stands at the end of a loop", stmt.span)
    else:
        help = "a module gives its outputs by `return (...)`, a loop passes values on by `next (...)`"
        b.report.error("L0503", "`yield` stands at the end of a branch or of a map", stmt.span, help=help)


def _results(b: Body, columns: list[list[Type] | None], results: int, span: Span) -> list[Type] | None:
    """Types of the results of a branch, or None after an error."""
    if any(c is None or len(c) != results for c in columns):
        return None
    out = []
    for i in range(results):
        made = b.common([c[i] for c in columns if c is not None], span, "the branches")
        if made is None:
            return None
        out.append(made)
    return out


def _if(b: Body, cond: ast.Expr, then: _Arm, orelse: _Arm, results: int, span: Span) -> list[Val]:
    test = b.value(condition(b, cond), cond.span)
    yes, yes_types = then.build(b, results, span)
    if results and orelse.body is None:
        b.report.error("L0503", "this `if` gives a value in one case only", span, help="add an `else` block")
        return []
    no, no_types = orelse.build(b, results, span)
    types = _results(b, [yes_types, no_types], results, span)
    if test is None or types is None:
        return [None] * results
    return list(b.emit(If.make(test, regions=[yes, no], types=types), span).results)


def _match(b: Body, expr: ast.Match, results: int) -> list[Val]:
    val = evaluate(b, expr.value)
    subject = b.value(val, expr.value.span)
    cases: list[object] = []
    regions: list[Region] = []
    columns: list[list[Type] | None] = []
    default: ast.Arm | None = None
    for arm in expr.arms:
        if default is not None:
            b.report.error("L0505", "this case is never reached", arm.span, also=[(default.span, "this one takes all")])
        if arm.pattern is None:
            default = arm
        else:
            _case(b, arm.pattern, cases, type_of_val(val))
        region, types = _Arm(arm.body).build(b, results, arm.span)
        regions.append(region)
        columns.append(types)
    if default is None:
        _exhaustive(b, expr, cases, type_of_val(val))
    types = _results(b, columns, results, expr.span)
    if subject is None or types is None or not regions:
        return [None] * results
    op = Match.make(subject, regions=regions, types=types, cases=tuple(cases))
    return list(b.emit(op, expr.span).results)


def _case(b: Body, pattern: ast.Literal, cases: list[object], subject: Type) -> None:
    try:
        value = literals.value(pattern)
    except literals.BadLiteral as e:
        b.report.error("L0104", str(e), pattern.span)
        return
    if any(value == c and type(value) is type(c) for c in cases):
        b.report.error("L0505", f"case {pattern.raw} stands twice", pattern.span)
    elif isinstance(subject, Choice) and value not in subject.options:
        help = suggest(str(value), subject.options) or f"it is one of {listed(subject.options)}"
        b.report.error("L0505", f"case {pattern.raw} never happens: the value is {subject}", pattern.span, help=help)
    elif not fits(Lit(value).type, subject) and not isinstance(subject, Maybe):
        b.report.error("L0505", f"case {pattern.raw} never happens: the value is {subject}", pattern.span)
    cases.append(value)


def _exhaustive(b: Body, expr: ast.Match, cases: list[object], subject: Type) -> None:
    if isinstance(subject, Choice):
        missing = [o for o in subject.options if o not in cases]
        if missing:
            shown = ", ".join(f'"{o}"' for o in missing)
            b.report.error("L0504", f"not handled: {shown}", expr.value.span, help="add a case for each, or `_ => ...`")
    else:
        b.report.error("L0504", "not every value is handled", expr.value.span, help="add a last case `_ => ...`")


def _map(b: Body, expr: ast.Map) -> Val:
    val = evaluate(b, expr.items)
    items, t = b.value(val, expr.items.span), type_of_val(val)
    if val is not None and not isinstance(t, ListOf) and t != ANY:
        b.report.error("L0513", f"`map` goes through a list, this is {spelled(t)}", expr.items.span)
    item = t.item if isinstance(t, ListOf) else ANY
    index = expr.index.name if expr.index else ""
    region = Region([(hint(expr.item.name), item), (hint(index), INT)])
    with b.inside(region):
        b.bind(expr.item.name, region.args[0] if items is not None else None, expr.item.span, used=True)
        if expr.index:
            b.bind(index, region.args[1], expr.index.span)
        good = _mapped(b, expr.body)
    if items is None or not good or not (isinstance(t, ListOf) or t == ANY):
        return None
    return b.emit(Map.make(items, regions=[region]), expr.span).result


def _mapped(b: Body, block: ast.Block) -> bool:
    """The body of a map: ends in `yield`, or in an `if` that yields (a filter). False after an error."""
    from lampc.frontend.lmp.statements import statements

    body, end = split(b, block.body)
    last = body[-1] if body else None
    if end is None and isinstance(last, ast.If) and last.orelse is None and _yields(last.then):
        statements(b, body[:-1], [last])
        return _filtered(b, last)
    statements(b, body, [end])
    if end is None:
        help = "end it with `yield value;`, or with `if keep { yield value; }` to leave some out"
        b.report.error("L0503", "this map gives no values", closing(block), help=help)
        return False
    if not isinstance(end, ast.Yield):
        misplaced(b, end)
        return False
    vals = [evaluate(b, v) for v in end.values]
    if len(vals) != 1:
        b.report.error("L0510", f"a map gives one value for each item, not {len(vals)}", end.span)
        return False
    return b.give(vals, [end.values[0].span], end.span) is not None


def _yields(block: ast.Block) -> bool:
    return bool(block.body) and isinstance(block.body[-1], ast.Yield)


def _filtered(b: Body, stmt: ast.If) -> bool:
    """`if keep { ...; yield value; }` at the end of a map: a filter.

    What gives the value runs for the kept items only: it goes into a branch.
    """
    from lampc.frontend.lmp.statements import statements

    keep = b.value(condition(b, stmt.condition), stmt.condition.span)
    body, end = split(b, stmt.then.body)
    assert isinstance(end, ast.Yield)
    region = Region()
    with b.inside(region):
        statements(b, body, [end])
        vals = [evaluate(b, v) for v in end.values]
        made = b.values(vals, [v.span for v in end.values])
    if len(end.values) != 1:
        b.report.error("L0510", f"a map gives one value for each item, not {len(end.values)}", end.span)
        return False
    if keep is None or made is None:
        return False
    value = made[0]
    if region.ops:
        region.append(Yield.make(made[0], loc=end.span))
        nothing = Region()
        none = nothing.append(Const.make(value=None, type=made[0].type, loc=end.span)).result
        nothing.append(Yield.make(none, loc=end.span))
        value = b.emit(If.make(keep, regions=[region, nothing], types=[made[0].type]), stmt.span).result
    b.emit(Yield.make(value, keep), end.span)
    return True
