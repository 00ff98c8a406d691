"""What a module declares for itself: predictors, other modules, tuned parameters."""

from __future__ import annotations

from dataclasses import replace

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.attributes import allowed, bad, constant, dotted, sampling, words
from lampc.frontend.lmp.body import Body
from lampc.frontend.lmp.env import MAKERS, SignatureInfo, kind_of
from lampc.frontend.lmp.literals import BadLiteral
from lampc.frontend.lmp.program import Function, Predictor, Tuned
from lampc.frontend.lmp.report import listed, suggest
from lampc.frontend.lmp.signatures import find_signature, with_reasoning
from lampc.frontend.lmp.typing import resolve
from lampc.ir import Kept, Sampling, Span, Symbol, freeze
from lampc.ir.adapters import ADAPTERS, adapter
from lampc.ir.adapters.arranged import layout_in
from lampc.ir.content import PARAMETERS, Cascade, DemoSet
from lampc.ir.prog import DefPredictor, DefTune
from lampc.ir.types import mismatch


def use(b: Body, stmt: ast.Use, decl: ast.ModuleDecl, prefix: str) -> None:
    """`use name = Maker(...)`: a predictor, or a module of its own."""
    name = stmt.name.name
    if name in b.uses:
        first = b.uses[name].span
        b.report.error("L0203", f"`{name}` is defined twice", stmt.name.span, also=[(first, "first defined here")])
        return
    attrs = allowed(stmt.attrs, "use", b.report)
    made: Predictor | Function | None
    if stmt.maker.name in MAKERS:
        made = _predictor(b, stmt, attrs, b.program.take(prefix + name, f"{decl.name.name}.{name}"))
    else:
        for attr in attrs.values():
            b.report.error("L0205", f"`@{attr.name}` belongs to a predictor", attr.span)
        made = _nested(b, stmt, decl, prefix)
    if made is None:
        b.env.file.lost.add(name)
    else:
        b.uses[name] = made


def _nested(b: Body, stmt: ast.Use, decl: ast.ModuleDecl, prefix: str) -> Function | None:
    path = stmt.maker.name
    if path not in b.env.decls and "." not in path:
        if path not in b.env.file.lost:
            modules = [n for n, d in b.env.decls.items() if isinstance(d, ast.ModuleDecl)]
            help = suggest(path, [*MAKERS, *modules]) or "predictors are made by `Predict` and `ChainOfThought`"
            b.report.error("L0410", f"there is no module `{path}`", stmt.maker.span, help=help)
        return None
    found = b.env.lookup(path, stmt.maker.span, "module")
    if found is None:
        return None
    home, _, target = found
    if not isinstance(target, ast.ModuleDecl):
        help = f"`Predict({path})` makes a predictor of it" if isinstance(target, ast.SignatureDecl) else ""
        b.report.error("L0410", f"`{path}` is {kind_of(target)}, not a module", stmt.maker.span, help=help)
        return None
    if stmt.args:
        b.report.error("L0410", f"`{path}` takes its inputs when it is called", stmt.args[0].span)
    name = target.name.name
    symbol = b.program.take(name, f"{decl.name.name}.{stmt.name.name}")
    from lampc.frontend.lmp.functions import instance

    made = instance(b.program, home, target, f"{prefix}{stmt.name.name}.", symbol)
    return None if made is None else Function(made.symbol, made.inputs, made.returns, stmt.name.span)


def _predictor(b: Body, stmt: ast.Use, attrs: dict[str, ast.Attribute], symbol: str) -> Predictor | None:
    path = dotted(stmt.args[0].value) if len(stmt.args) == 1 and stmt.args[0].name is None else None
    if path is None:
        help = f"write `{stmt.maker.name}(Name)` with the name of a signature"
        b.report.error("L0410", f"`{stmt.maker.name}` takes one signature", stmt.span, help=help)
        return None
    info = find_signature(b.env, path, stmt.args[0].value)
    drawn, n = sampling(attrs.get("sample"), Sampling(), b.report)
    model, layout = "main", "compact"
    if "model" in attrs:
        model = _model(b, attrs["model"]) or model
    elif "main" in b.env.decls:
        _define_main(b)
    cascade = _cascade(b, attrs["cascade"]) if "cascade" in attrs else None
    if "layout" in attrs:
        chosen = words(attrs["layout"])
        if chosen is None or len(chosen) != 1:
            bad(b.report, attrs["layout"])
        elif chosen[0][0] not in ADAPTERS:
            help = suggest(chosen[0][0], ADAPTERS) or f"there are {listed(sorted(ADAPTERS))}"
            b.report.error("L0409", f"there is no layout `{chosen[0][0]}`", chosen[0][1], help=help)
        else:
            layout = chosen[0][0]
    frozen, before, after = _frozen(b, attrs["frozen"]) if "frozen" in attrs else ((), "", "")
    if info is None:
        return None
    if info.order:
        layout = _ordered(b, layout, info, stmt)
        frozen = tuple(dict.fromkeys((*(("layout",) if info.held else ()), *frozen)))
    reasons = stmt.maker.name == "ChainOfThought"
    if reasons and info.signature.output("reasoning"):
        help = "remove it from the signature, or use `Predict`"
        b.report.error("L0410", "`ChainOfThought` adds an output `reasoning` itself", stmt.span, help=help)
        return None
    signature = with_reasoning(info.signature) if reasons else info.signature
    op = DefPredictor.make(
        signature=signature,
        demos=DemoSet(info.demos),
        layout=layout,
        model=Symbol(model),
        frozen=frozen,
        keep=Kept(before, after, DemoSet(info.kept)),
        cascade=cascade,
        symbol=symbol,
        loc=stmt.span,
    )
    b.program.definitions.append(op)
    made = Predictor(symbol, signature, drawn, n, stmt.name.span, reasons)
    b.program.predictors[symbol] = made
    return made


def _ordered(b: Body, layout: str, info: SignatureInfo, stmt: ast.Use) -> str:
    """The layout in the order that the signature asks for; the layout itself after reporting that it has one only."""
    made = layout_in(layout, info.order, info.signature)
    try:
        adapter(made)
    except ValueError as e:
        b.report.error("L0418", str(e), stmt.span, help="take another layout, or the order out of the signature")
        return layout
    return made


def _define_main(b: Body) -> None:
    decl = b.env.decls["main"]
    if isinstance(decl, ast.ModelDecl):
        b.env.used.add("main")
        b.program.define(b.env, decl)


def _model(b: Body, attr: ast.Attribute) -> str | None:
    chosen = words(attr)
    if chosen is None or len(chosen) != 1:
        bad(b.report, attr)
        return None
    return _model_named(b, *chosen[0])


def _cascade(b: Body, attr: ast.Attribute) -> Cascade | None:
    """The model that is asked first; None after reporting what is wrong."""
    args = attr.args or []
    path = dotted(args[0].value) if args and args[0].name is None else None
    try:
        said = {a.name.name: constant(a.value) for a in args[1:] if a.name is not None}
    except BadLiteral:
        said = {}
    whole = len(said) == len(args) - 1
    threshold = said.pop("threshold", None)
    if (
        path is None
        or not whole
        or isinstance(threshold, bool)
        or not isinstance(threshold, int | float)
        or not 0 <= threshold <= 1
    ):
        bad(b.report, attr)
        return None
    model = _model_named(b, path, args[0].span)
    return None if model is None else Cascade(model, float(threshold), freeze(said))


def _model_named(b: Body, path: str, span: Span) -> str | None:
    found = b.env.lookup(path, span, "model")
    if found is None:
        return None
    home, _, decl = found
    if not isinstance(decl, ast.ModelDecl):
        b.report.error("L0204", f"`{path}` is {kind_of(decl)}, not a model", span)
        return None
    return b.program.define(home, decl)


def _frozen(b: Body, attr: ast.Attribute) -> tuple[tuple[str, ...], str, str]:
    """The parameters that are frozen, and the texts before and after every instruction."""
    if not attr.args:
        return PARAMETERS, "", ""
    around = {"before": "", "after": ""}
    bare = []
    for arg in attr.args:
        if arg.name is None:
            bare.append(arg)
            continue
        try:
            text = constant(arg.value)
        except BadLiteral:
            text = None
        if arg.name.name not in around or not isinstance(text, str):
            bad(b.report, attr)
        else:
            around[arg.name.name] = text
    chosen = words(replace(attr, args=bare))
    if chosen is None:
        bad(b.report, attr)
        return (), "", ""
    for name, span in chosen:
        if name not in PARAMETERS:
            help = suggest(name, PARAMETERS) or f"there are {listed(PARAMETERS)}"
            b.report.error("L0409", f"a predictor has no parameter `{name}`", span, help=help)
    return tuple(n for n, _ in chosen), around["before"], around["after"]


def tune(b: Body, stmt: ast.Tune, decl: ast.ModuleDecl, prefix: str) -> None:
    """`tune name: T = default in [...]`: a parameter that an optimizer may choose."""
    name = stmt.name.name
    if name in b.tunes or name in b.uses:
        b.report.error("L0203", f"`{name}` is defined twice", stmt.name.span)
        return
    wanted = resolve(b.env, stmt.type)
    symbol = b.program.take(prefix + name, f"{decl.name.name}.{name}")
    b.tunes[name] = Tuned(symbol, wanted, stmt.name.span)
    try:
        default, choices = constant(stmt.default), constant(stmt.choices)
    except BadLiteral as e:
        b.report.error("L0415", str(e), stmt.span)
        return
    for value, at in [(default, stmt.default), *zip(choices, stmt.choices.items, strict=True)]:
        why = mismatch(value, wanted)
        if why:
            b.report.error("L0415", f"`{name}`: {why}", at.span)
            return
    if default not in choices:
        b.report.error("L0415", f"{default!r} is not among the choices of `{name}`", stmt.default.span)
        return
    op = DefTune.make(type=wanted, default=freeze(default), choices=freeze(choices), symbol=symbol, loc=stmt.span)
    b.program.definitions.append(op)
