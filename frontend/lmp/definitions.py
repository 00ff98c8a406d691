"""Definitions of models, retrievers and tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lampc.frontend.lmp import ast, literals
from lampc.frontend.lmp.attributes import allowed, constant, one
from lampc.frontend.lmp.env import Env
from lampc.frontend.lmp.report import listed, suggest
from lampc.frontend.lmp.signatures import fields_of
from lampc.frontend.lmp.typing import resolve
from lampc.ir import HostRef, Obj, Op, Span, freeze
from lampc.ir.prog import DefModel, DefRetriever, DefTool


@dataclass(frozen=True, slots=True)
class Made:
    """The arguments of a maker: the leading text and the named ones, as plain values."""

    kind: str
    first: str
    named: dict[str, Any]
    spans: dict[str, Span]


_TEXTLESS = ("bound",)
"""Kinds that may say nothing of what they stand for: whoever runs the program does."""


def arguments(env: Env, maker: ast.Maker, makers: dict[str, tuple[str, ...] | None], code: str) -> Made | None:
    """Read `kind("text", name: value, ...)`; `makers` gives the names each kind takes (None: any).

    Reports under `code` what is unknown, missing or no literal, and gives None then.
    """
    kind, report = maker.name.name, env.report
    allowed(maker.attrs, "definition", report)
    if kind not in makers:
        help = suggest(kind, makers) or f"known here: {listed(makers)}"
        report.error(code, f"there is no `{kind}(...)` here", maker.name.span, help=help)
        return None
    first, named, spans, good = "", dict[str, Any](), dict[str, Span](), True
    for i, arg in enumerate(maker.args):
        try:
            value = constant(arg.value)
        except literals.BadLiteral as e:
            report.error(code, str(e), arg.value.span)
            good = False
            continue
        if arg.name is None and i == 0 and isinstance(value, str):
            first = value
            continue
        known = makers[kind]
        name = arg.name.name if arg.name else ""
        if not name:
            report.error(code, f"`{kind}` takes one text and then named arguments", arg.span)
        elif known is not None and name not in known:
            help = suggest(name, known) or f"it takes {listed(known)}"
            report.error(code, f"`{kind}` does not take `{name}`", arg.name.span if arg.name else arg.span, help=help)
        elif name in named:
            report.error(code, f"`{name}` is given twice", arg.span)
        else:
            named[name] = value
            spans[name] = arg.value.span
            continue
        good = False
    if not first and good and kind not in _TEXTLESS:
        report.error(code, f"`{kind}` needs a text first", maker.span, help=f'write `{kind}("...")`')
        good = False
    return Made(kind, first, named, spans) if good else None


def wrong_kind(env: Env, made: Made, name: str, kind: type, code: str, default: Any) -> Any:
    """The named argument if it is of type `kind`, else `default`, reporting a wrong one."""
    if name not in made.named:
        return default
    value = made.named[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {str: "a text", int: "a whole number"}
        env.report.error(code, f"`{name}` is {words.get(kind, kind.__name__)}", made.spans[name])
        return default
    return value


def definition(env: Env, decl: ast.ModelDecl | ast.RetrieverDecl | ast.ToolDecl) -> Op | None:
    """The op of a definition without its symbol, or None after reporting."""
    if isinstance(decl, ast.ModelDecl):
        made = arguments(env, decl.maker, {"engine": None, "endpoint": None}, "L0416")
        if made is None:
            return None
        options = Obj(tuple((k, freeze(v)) for k, v in made.named.items()))
        return DefModel.make(kind=made.kind, source=made.first, options=options, loc=decl.span)
    if isinstance(decl, ast.RetrieverDecl):
        made = arguments(env, decl.maker, {"bm25": ("field", "k"), "bound": ("field", "k")}, "L0416")
        if made is None:
            return None
        field = wrong_kind(env, made, "field", str, "L0416", "text")
        k = wrong_kind(env, made, "k", int, "L0416", 3)
        return DefRetriever.make(kind=made.kind, source=made.first, field=field, k=k, loc=decl.span)
    ref = host(env, decl.maker, decl.attrs)
    if ref is None:
        return None
    params = tuple(fields_of(env, decl.params or []))
    returns = resolve(env, decl.returns)
    return DefTool.make(ref=ref, params=params, returns=returns, effect=effect(env, decl), loc=decl.span)


def host(env: Env, maker: ast.Maker, attrs: list[ast.Attribute]) -> HostRef | None:
    """The Python function that `python("module:function")` names."""
    made = arguments(env, ast.Maker(maker.span, maker.name, maker.args, []), {"python": ()}, "L0416")
    if made is None:
        return None
    module, colon, name = made.first.partition(":")
    if not colon or not all(p.isidentifier() for p in (*module.split("."), *name.split("."))):
        at = maker.args[0].span
        env.report.error("L0416", f'"{made.first}" names no function', at, help='write "module:function"')
        return None
    source = next((a for a in (*attrs, *maker.attrs) if a.name == "source"), None)
    return HostRef(made.first, (one(source, str, env.report) or "") if source else "")


def effect(env: Env, decl: ast.ToolDecl) -> str:
    """The declared effect of a tool or function."""
    attrs = allowed([*decl.attrs, *decl.maker.attrs], "tool", env.report)
    said = [n for n in ("pure", "unordered", "effect") if n in attrs]
    if len(said) > 1:
        env.report.error("L0409", f"`@{said[0]}` and `@{said[1]}` exclude each other", attrs[said[1]].span)
    return said[0] if said else "effect"
