"""Modules, metrics and expectations to functions."""

from __future__ import annotations

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.attributes import allowed
from lampc.frontend.lmp.body import Body
from lampc.frontend.lmp.control import misplaced, split
from lampc.frontend.lmp.env import Env, text_of
from lampc.frontend.lmp.exprs import condition, evaluate
from lampc.frontend.lmp.program import Function, Program
from lampc.frontend.lmp.report import listed, suggest
from lampc.frontend.lmp.signatures import fields_of
from lampc.frontend.lmp.statements import statements
from lampc.frontend.lmp.uses import tune, use
from lampc.frontend.lmp.values import Lit, type_of_val
from lampc.ir import ANY, BOOL, Field, Record, Region, Type, Value
from lampc.ir.prog import Func, If, Pack, Return, Yield
from lampc.ir.types import spelled


def instance(program: Program, env: Env, decl: ast.ModuleDecl, prefix: str, symbol: str) -> Function | None:
    """The function of a module. `prefix` stands before the symbols of its predictors ("" for a root)."""
    name = decl.name.name
    if name in program.active:
        cycle = " -> ".join([*program.active[program.active.index(name) :], name])
        program.report.error("L0412", f"module `{name}` uses itself: {cycle}", decl.name.span)
        return None
    program.active.append(name)
    allowed(decl.attrs, "module", program.report)
    inputs = fields_of(env, decl.params)
    outputs = fields_of(env, decl.outputs)
    returns = Record(tuple((f.name, f.type) for f in outputs))
    region = Region([(f.name, f.type) for f in inputs])
    b = Body(program, env, region)
    for f, p, arg in zip(inputs, decl.params, region.args, strict=False):
        b.bind(f.name, arg, p.name.span)
    work: list[ast.Stmt] = []
    for stmt in decl.body:
        if isinstance(stmt, ast.Use):
            use(b, stmt, decl, prefix)
        elif isinstance(stmt, ast.Tune):
            tune(b, stmt, decl, prefix)
        else:
            work.append(stmt)
    _body(b, work, decl, outputs, returns)
    b.leave()
    for what in (*b.uses.items(), *b.tunes.items()):
        if not what[1].used and what[0] not in env.file.lost:
            program.report.warn("L0207", f"`{what[0]}` is never used", what[1].span, help="remove it")
    program.active.pop()
    doc = text_of(decl.doc.text, program.report) if decl.doc else ""
    program.functions.append(Func.make(regions=[region], returns=returns, doc=doc, symbol=symbol, loc=decl.span))
    return Function(symbol, inputs, returns, decl.name.span)


def _body(b: Body, work: list[ast.Stmt], decl: ast.ModuleDecl, outputs: list[Field], returns: Record) -> None:
    """The statements of a module, up to its `return`."""
    for i, stmt in enumerate(work):
        if isinstance(stmt, ast.If) and _returns(stmt):
            statements(b, work[:i], work[i:])
            val = _early(b, stmt, work[i + 1 :], decl, outputs, returns)
            if val is not None:
                b.emit(Return.make(val), stmt.span)
            return
    body, end = split(b, work)
    statements(b, body, [end])
    if end is None:
        names = ", ".join(f"{f.name}: ..." for f in outputs)
        help = f"end it with `return ({names});`"
        b.report.error("L0501", f"module `{decl.name.name}` returns nothing", decl.name.span, help=help)
    elif isinstance(end, ast.Return):
        val = _returned(b, end, outputs, returns)
        if val is not None:
            b.emit(Return.make(val), end.span)
    else:
        misplaced(b, end)


def _returns(stmt: ast.If) -> bool:
    """Whether the first block of an `if` returns: an early return."""
    return bool(stmt.then.body) and isinstance(stmt.then.body[-1], ast.Return)


def _early(
    b: Body, stmt: ast.If, rest: list[ast.Stmt], decl: ast.ModuleDecl, outputs: list[Field], returns: Record
) -> Value | None:
    """`if c { return a; } rest`: a branch whose second side is the rest of the module."""
    test = b.value(condition(b, stmt.condition), stmt.condition.span)
    if stmt.orelse is not None and rest:
        help = "leave out `else`: what follows is run only if the condition does not hold"
        b.report.error("L0502", "nothing after this `if` is ever run", rest[0].span, help=help)
        return None
    other: list[ast.Stmt] = rest
    if isinstance(stmt.orelse, ast.If):
        other = [stmt.orelse]
    elif stmt.orelse is not None:
        other = stmt.orelse.body
    regions = []
    for part in (stmt.then.body, other):
        region = Region()
        with b.inside(region):
            _body(b, part, decl, outputs, returns)
        regions.append(region)
        if region.terminator is None:
            return None
        end = region.ops.pop()
        value = end.operands[0]
        end.drop_operands()
        region.append(Yield.make(value, loc=end.loc))
    if test is None:
        return None
    return b.emit(If.make(test, regions=regions, types=[returns]), stmt.span).result


def _returned(b: Body, end: ast.Return, outputs: list[Field], returns: Record) -> Value | None:
    """The record of a `return`; None after an error."""
    if not isinstance(end.value, ast.RecordOfExprs):
        val = evaluate(b, end.value)
        t = type_of_val(val)
        if val is not None and t not in (returns, ANY):
            names = ", ".join(f"{f.name}: ..." for f in outputs)
            b.report.error(
                "L0413",
                f"a module returns its outputs, this is {spelled(t)}",
                end.value.span,
                help=f"write `return ({names});`",
            )
            return None
        return b.value(val, end.value.span)
    given: dict[str, ast.Arg] = {}
    vals = {}
    good = True
    known = {f.name: f for f in outputs}
    for arg in end.value.args:
        name = arg.name.name if arg.name else ""
        vals[name] = evaluate(b, arg.value)
        if name not in known:
            help = suggest(name, known) or f"its outputs are {listed(known)}"
            b.report.error(
                "L0413", f"the module has no output `{name}`", arg.name.span if arg.name else arg.span, help=help
            )
            good = False
        elif name in given:
            b.report.error("L0403", f"`{name}` is given twice", arg.span)
            good = False
        else:
            given[name] = arg
            good = b.expect(vals[name], known[name].type, arg.value.span, f"output `{name}`") and good
    missing = [n for n in known if n not in given]
    if missing and good:
        b.report.error("L0413", f"the output {listed(missing)} is missing", end.span)
    if missing or not good:
        return None
    made = b.values([vals[n] for n in known], [given[n].value.span for n in known])
    return None if made is None else b.emit(Pack.make(*made, names=tuple(known)), end.span).result


def metric(program: Program, env: Env, decl: ast.MetricDecl, inputs: list[Field], returns: Type) -> None:
    """The function of a metric: takes the two values, returns the score itself."""
    region = Region([(f.name, f.type) for f in inputs])
    b = Body(program, env, region)
    for f, p, arg in zip(inputs, decl.params, region.args, strict=False):
        b.bind(f.name, arg, p.name.span)
    statements(b, decl.lets, [ast.Return(decl.span, decl.value)] if decl.value else [])
    assert decl.value is not None
    val = evaluate(b, decl.value)
    good = b.expect(val, returns, decl.value.span, f"metric `{decl.name.name}`")
    b.leave()
    made = b.value(val, decl.value.span)
    if made is not None and good:
        b.emit(Return.make(made), decl.value.span)
        program.functions.append(
            Func.make(regions=[region], returns=returns, symbol=program.take(decl.name.name), loc=decl.span)
        )


def expectation(program: Program, env: Env, expr: ast.Expr, outputs: Record, stats: Record, symbol: str) -> None:
    """The function of an expectation: takes the outputs and the run's statistics, returns a truth value."""
    region = Region([("outputs", outputs), ("stats", stats)])
    b = Body(program, env, region)
    b.fields = dict.fromkeys(outputs.names(), region.args[0])
    b.bind("outputs", region.args[0], expr.span, used=True)
    b.bind("stats", region.args[1], expr.span, used=True)
    val = evaluate(b, expr)
    t = type_of_val(val)
    if val is not None and t not in (BOOL, ANY):
        program.report.error("L0610", f"an expectation is true or false, this is {spelled(t)}", expr.span)
        return
    if isinstance(val, Lit):
        program.report.warn("L0512", "this expectation does not look at the run", expr.span)
    made = b.value(val, expr.span)
    if made is not None:
        b.emit(Return.make(made), expr.span)
        program.functions.append(
            Func.make(regions=[region], returns=made.type, symbol=program.take(symbol), loc=expr.span)
        )
