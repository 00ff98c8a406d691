"""Loops: carried values, and the names inside that are visible after."""

from __future__ import annotations

from lampc.frontend.lmp import ast, literals
from lampc.frontend.lmp.body import Body, hint
from lampc.frontend.lmp.control import closing, misplaced, split
from lampc.frontend.lmp.exprs import condition, evaluate
from lampc.frontend.lmp.report import listed, suggest
from lampc.frontend.lmp.values import Lit, Val, fits, type_of_val
from lampc.ir import ANY, INT, STR, Choice, Region, Span, Type, Value
from lampc.ir.prog import Loop, Next


def loop(b: Body, stmt: ast.Loop, wanted: set[str]) -> None:
    """A loop; binds the carried values, and of the names inside those in `wanted` (used after it)."""
    vals = [evaluate(b, c.value) for c in stmt.carried]
    init = [b.value(v, c.value.span) for v, c in zip(vals, stmt.carried, strict=True)]
    limit = literals.number(stmt.max.raw)
    if not isinstance(limit, int) or limit < 1:
        b.report.error("L0508", "a loop runs at least once: `max` is a whole number from 1", stmt.max.span)
        limit = 1
    index = stmt.index.name if stmt.index else ""
    args = [(hint(c.name.name), ANY if v is None else v.type) for c, v in zip(stmt.carried, init, strict=True)]
    region = Region([*args, (hint(index), INT)])
    with b.inside(region, wanted):
        for c, arg, first in zip(stmt.carried, region.args, init, strict=False):
            b.bind(c.name.name, None if first is None else arg, c.name.span, used=True)
        if stmt.index:
            b.bind(index, region.args[-1], stmt.index.span)
        visible = _iteration(b, stmt, wanted, init)
    names = [(c.after or c.name) for c in stmt.carried]
    if visible is None or any(v is None for v in init):
        inner = [(n.name, n.span) for s in stmt.body.body if isinstance(s, ast.Let) for n in s.names]
        for name, span in [*((n.name, n.span) for n in names), *inner]:
            b.bind(name, None, span, used=True)
        return
    kept = [(name, span) for name, span, val in visible if isinstance(val, Value)]
    op = b.emit(Loop.make(*[v for v in init if v is not None], regions=[region], max=limit), stmt.span)
    for value, (name, span) in zip(op.results, [*((n.name, n.span) for n in names), *kept], strict=True):
        b.bind(name, value, span, used=True)
        b.name_results(value, name, 0)
    for name, span, val in visible:
        if isinstance(val, Lit):
            b.bind(name, val, span, used=True)


def _iteration(
    b: Body, stmt: ast.Loop, wanted: set[str], init: list[Value | None]
) -> list[tuple[str, Span, Val]] | None:
    """The body of a loop; gives the inner names that are visible after it, None after an error."""
    from lampc.frontend.lmp.statements import statements

    body, end = split(b, stmt.body.body)
    statements(b, body, [end])
    if not isinstance(end, ast.Next):
        if end is not None:
            misplaced(b, end)
        else:
            help = "end it with `next (name: value) until condition;`"
            b.report.error("L0506", "this loop does not say how it goes on", closing(stmt.body), help=help)
        return None
    passed = _passed(b, stmt, end, init)
    stop = condition(b, end.until)
    if passed is None:
        return None
    made = b.values([v for v, _ in passed], [s for _, s in passed])
    halt = b.value(stop, end.until.span)
    if made is None or halt is None:
        return None
    visible = []
    skip = {*(c.name.name for c in stmt.carried), *([stmt.index.name] if stmt.index else [])}
    for name, binding in b.scopes[-1].items():
        if name in wanted and name not in skip:
            binding.used = True
            visible.append((name, binding.span, binding.value))
            if isinstance(binding.value, Value):
                made.append(binding.value)
    b.emit(Next.make(halt, *made), end.span)
    return visible


def _passed(b: Body, stmt: ast.Loop, end: ast.Next, init: list[Value | None]) -> list[tuple[Val, Span]] | None:
    """What `next` passes on, in the order of the carried values; None after an error."""
    given: dict[str, tuple[Val, Span]] = {}
    carried = {c.name.name: i for i, c in enumerate(stmt.carried)}
    good = True
    for arg in end.args:
        name = arg.name.name if arg.name else ""
        val = evaluate(b, arg.value)
        if name not in carried:
            help = suggest(name, carried) or (f"it carries {listed(carried)}" if carried else "it carries nothing")
            b.report.error("L0507", f"the loop does not carry `{name or '?'}`", arg.span, help=help)
            good = False
        elif name in given:
            b.report.error("L0403", f"`{name}` is given twice", arg.span)
            good = False
        else:
            given[name] = (val, arg.value.span)
            first = init[carried[name]]
            if first is not None and val is not None and not fits(type_of_val(val), first.type):
                _drifts(b, name, first.type, type_of_val(val), arg, stmt.carried[carried[name]])
                good = False
    missing = [n for n in carried if n not in given]
    if missing and good:
        b.report.error("L0507", f"`next` does not say what becomes of {listed(missing)}", end.span)
    return [given[n] for n in carried] if good and not missing else None


def _drifts(b: Body, name: str, first: Type, later: Type, arg: ast.Arg, start: ast.Carried) -> None:
    help = "" if isinstance(first, Choice) or first == STR else f"let it begin with a value of type {later}"
    b.report.error(
        "L0507",
        f"`{name}` is {first} at first and {later} later",
        arg.value.span,
        help=help,
        also=[(start.value.span, f"{first} here")],
    )
