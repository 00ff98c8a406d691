"""Calls: predictors, modules, retrievers, tools, Python functions, built-ins."""

from __future__ import annotations

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.attributes import allowed, dotted, sampling
from lampc.frontend.lmp.body import Body
from lampc.frontend.lmp.continuing import continued
from lampc.frontend.lmp.definitions import effect, host
from lampc.frontend.lmp.env import FUNCTIONS, MAKERS, Env, kind_of
from lampc.frontend.lmp.exprs import applied, evaluate
from lampc.frontend.lmp.operands import arity, complaint
from lampc.frontend.lmp.program import Function, Predictor
from lampc.frontend.lmp.report import listed, suggest
from lampc.frontend.lmp.signatures import fields_of
from lampc.frontend.lmp.typing import resolve
from lampc.frontend.lmp.values import Lit, Val, type_of_val
from lampc.ir import INT, STR, Field, Region, Sampling, Symbol, Value
from lampc.ir.prog import Argmax, Continue, Map, Predict, Py, Retrieve, Tool, Vote, Yield
from lampc.ir.prog import Call as CallOp


def call(b: Body, expr: ast.Call) -> Val:
    """Ops of a call."""
    path = dotted(expr.callee)
    if path is None or (not expr.args and expr.attrs and expr.callee.span.end_column == expr.span.end_column):
        b.report.error("L0411", "only named things are called", expr.callee.span)
        return None
    if not path.count(".") and path in b.uses:
        target = b.uses[path]
        target.used = True
        attrs = allowed(expr.attrs, "call", b.report)
        if isinstance(target, Predictor):
            return predict(b, expr, target, attrs)
        if "continue" in attrs:
            b.report.error("L0205", "`@continue` belongs to the call of a predictor", attrs["continue"].span)
        return call_module(b, expr, target)
    for attr in allowed(expr.attrs, "call", b.report).values():
        b.report.error("L0205", f"`@{attr.name}` belongs to the call of a predictor", attr.span)
    binding = b.find(path.partition(".")[0])
    if binding is not None:
        binding.used = True
        method = path.rpartition(".")[2]
        help = f"built-in functions stand in front: `{method}(...)`" if method in FUNCTIONS and "." in path else ""
        b.report.error("L0204", f"`{path}` is a value, it cannot be called", expr.callee.span, help=help)
        return None
    if path in FUNCTIONS:
        return builtin(b, expr, path)
    return declared(b, expr, path)


def declared(b: Body, expr: ast.Call, path: str) -> Val:
    """A call of something that the file (or an import) declares."""
    known = [*b.uses, *FUNCTIONS]
    head = path.partition(".")[0]
    if path in MAKERS:
        help = f"`use name = {path}(Signature);` at the top of the module, then call `name`"
        b.report.error("L0414", f"`{path}` makes a predictor, it is not called here", expr.callee.span, help=help)
        return None
    if path not in b.env.decls and head not in b.env.imports:
        if path not in b.env.file.lost:
            callable_ = [n for n, d in b.env.decls.items() if isinstance(d, ast.ToolDecl | ast.RetrieverDecl)]
            help = suggest(path, [*known, *callable_])
            b.report.error("L0201", f"there is no function `{path}`", expr.callee.span, help=help)
        return None
    found = b.env.lookup(path, expr.callee.span, "function")
    if found is None:
        return None
    home, _, decl = found
    if isinstance(decl, ast.RetrieverDecl):
        return retrieve(b, expr, home, decl)
    if isinstance(decl, ast.ToolDecl):
        return tool(b, expr, home, decl)
    help = ""
    if isinstance(decl, ast.SignatureDecl):
        help = f"`use name = Predict({path});` at the top of the module, then call `name`"
    elif isinstance(decl, ast.ModuleDecl):
        help = f"`use name = {path}();` at the top of the module, then call `name`"
    b.report.error("L0414", f"`{path}` is {kind_of(decl)}, it is not called directly", expr.callee.span, help=help)
    return None


def named(b: Body, expr: ast.Call, fields: list[Field], what: str, *, positional: bool = False) -> list[Val] | None:
    """Values of the arguments in the order of `fields`, evaluated as written. Reports what does not fit."""
    given: dict[str, tuple[Val, ast.Arg]] = {}
    known = {f.name: f for f in fields}
    good = True
    for i, arg in enumerate(expr.args):
        val = evaluate(b, arg.value)
        if arg.name is None and positional and i < len(fields):
            name = fields[i].name
        elif arg.name is None:
            first = f": `{fields[0].name}: ...`" if fields else ""
            b.report.error("L0404", f"arguments of {what} are named", arg.span, help=f"write the input's name{first}")
            good = False
            continue
        else:
            name = arg.name.name
        at = arg.name.span if arg.name else arg.span
        if name not in known:
            help = suggest(name, known) or (f"it takes {listed(known)}" if known else "it takes nothing")
            b.report.error("L0402", f"{what} does not take `{name}`", at, help=help)
            good = False
        elif name in given:
            b.report.error("L0403", f"`{name}` is given twice", at)
            good = False
        else:
            given[name] = (val, arg)
            good = b.expect(val, known[name].type, arg.value.span, f"`{name}` of {what}") and good
    missing = [f.name for f in fields if f.name not in given]
    if missing:
        if good:
            b.report.error("L0401", f"{what} needs {listed(missing)} too", expr.span)
        return None
    return [given[f.name][0] for f in fields] if good else None


def operands(b: Body, expr: ast.Call, vals: list[Val] | None) -> list[Value] | None:
    return None if vals is None else b.values(vals, [expr.span] * len(vals))


def predict(b: Body, expr: ast.Call, target: Predictor, attrs: dict[str, ast.Attribute]) -> Val:
    """A predictor's call; with `@sample(n: ...)`, a list of answers; with `@continue`, where another ended."""
    what = f"`{_name(expr)}`"
    vals = named(b, expr, list(target.signature.inputs), what)
    drawn, n = sampling(attrs.get("sample"), target.sampling, b.report)
    inputs = operands(b, expr, vals)
    after = continued(b, attrs["continue"], target) if "continue" in attrs else None
    if inputs is None or ("continue" in attrs and after is None):
        return None
    n = n or target.samples
    if not n:
        return _predict(b, expr, target, inputs, drawn, after)
    items = b.constant(list(range(n)), expr.span, Lit([0]).type)
    region = Region([("", INT), ("", INT)])
    with b.inside(region):
        result = _predict(b, expr, target, inputs, drawn, after)
        b.emit(Yield.make(result), expr.span)
    return b.emit(Map.make(items, regions=[region]), expr.span).result


def _predict(
    b: Body, expr: ast.Call, target: Predictor, inputs: list[Value], drawn: Sampling, after: Value | None
) -> Value:
    op = (Predict if after is None else Continue).make(
        *([] if after is None else [after]),
        *inputs,
        predictor=Symbol(target.symbol),
        signature=target.signature,
        sampling=drawn,
        key=b.key(target.symbol),
    )
    return b.emit(op, expr.span).result


def _name(expr: ast.Call) -> str:
    return dotted(expr.callee) or "this"


def call_module(b: Body, expr: ast.Call, target: Function) -> Val:
    args = operands(b, expr, named(b, expr, target.inputs, f"`{_name(expr)}`"))
    if args is None:
        return None
    op = CallOp.make(*args, callee=Symbol(target.symbol), key=b.key(target.symbol), returns=target.returns)
    return b.emit(op, expr.span).result


def retrieve(b: Body, expr: ast.Call, home: Env, decl: ast.RetrieverDecl) -> Val:
    """A retriever's call: a query, and perhaps how many passages."""
    symbol = b.program.define(home, decl)
    fields = [Field("query", STR), Field("k", INT)]
    if not any(a.name and a.name.name == "k" for a in expr.args) and len(expr.args) < 2:
        fields = fields[:1]
    args = operands(b, expr, named(b, expr, fields, f"`{_name(expr)}`", positional=True))
    if args is None or symbol is None:
        return None
    return b.emit(Retrieve.make(*args, retriever=Symbol(symbol)), expr.span).result


def tool(b: Body, expr: ast.Call, home: Env, decl: ast.ToolDecl) -> Val:
    """The call of a tool (a definition of the module) or of a plain Python function."""
    returns = resolve(home, decl.returns)
    if not decl.host:
        symbol = b.program.define(home, decl)
        fields = fields_of(home, decl.params or [])
        args = operands(b, expr, named(b, expr, fields, f"`{_name(expr)}`", positional=True))
        if args is None or symbol is None:
            return None
        made = Tool.make(*args, tool=Symbol(symbol), effect=effect(home, decl), returns=returns)
        return b.emit(made, expr.span).result
    ref = host(home, decl.maker, decl.attrs)
    if decl.params is not None:
        vals = named(b, expr, fields_of(home, decl.params), f"`{_name(expr)}`", positional=True)
        keywords: tuple[str, ...] = ()
    else:
        vals = [evaluate(b, a.value) for a in expr.args]
        keywords = tuple(a.name.name for a in expr.args if a.name)
    args = operands(b, expr, vals)
    if args is None or ref is None:
        return None
    op = Py.make(*args, ref=ref, effect=effect(home, decl), returns=returns, keywords=keywords)
    return b.emit(op, expr.span).result


def builtin(b: Body, expr: ast.Call, fn: str) -> Val:
    """A built-in function, `vote` and `argmax` among them."""
    wrong = next((a for a in expr.args if a.name), None)
    if wrong is not None:
        b.report.error("L0404", f"arguments of `{fn}` have no names", wrong.span)
        return None
    vals = [evaluate(b, a.value) for a in expr.args]
    spans = [a.value.span for a in expr.args]
    least, most = arity(fn)
    if not least <= len(vals) <= most:
        count = str(least) if least == most else f"{least} to {most}"
        plural = "" if count == "1" else "s"
        b.report.error("L0308", f"`{fn}` takes {count} argument{plural}, not {len(vals)}", expr.span)
        return None
    if fn not in ("vote", "argmax"):
        return applied(b, fn, vals, spans, expr.span)
    wrong_type = None if vals[0] is None else complaint(fn, [type_of_val(vals[0])])
    if wrong_type is not None:
        b.report.error("L0302", wrong_type[1], spans[0])
        return None
    made = b.value(vals[0], spans[0])
    if made is None:
        return None
    return b.emit((Vote if fn == "vote" else Argmax).make(made), expr.span).result
