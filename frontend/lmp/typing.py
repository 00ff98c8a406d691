"""Type expressions to types."""

from __future__ import annotations

from lampc.frontend.lmp import ast, literals
from lampc.frontend.lmp.env import SCALARS, Env, kind_of
from lampc.frontend.lmp.report import suggest
from lampc.ir import ANY, NONE, Choice, ListOf, Maybe, Record, Type
from lampc.ir.types import SCALARS as SCALAR_TYPES


def resolve(env: Env, expr: ast.TypeExpr) -> Type:
    """The type that `expr` means; `any` after an error (reported as L02xx or L03xx)."""
    match expr:
        case ast.TypeName(_, name):
            return _named(env, expr, name)
        case ast.TypeOf(_, name, item):
            inner = resolve(env, item)
            if name == "list":
                return ListOf(inner)
            help = (
                "write `T?` for a value that may be absent" if name in ("opt", "Optional") else suggest(name, ["list"])
            )
            env.report.error("L0202", f"there is no type `{name}[...]`", expr.span, help=help)
            return ANY
        case ast.TypeLiteral():
            return Choice((_option(env, expr),))
        case ast.TypeRecord(_, fields):
            return _record(env, fields)
        case ast.TypeMaybe(_, item):
            inner = resolve(env, item)
            return inner if isinstance(inner, Maybe) else Maybe(inner)
        case ast.TypeUnion(_, options):
            return _union(env, expr, options)


def _named(env: Env, expr: ast.TypeName, name: str) -> Type:
    if name in SCALARS:
        return SCALAR_TYPES[name]
    _, _, rest = name.partition(".")
    if not rest and name not in env.decls and name not in env.file.lost:
        words = {"string": "str", "text": "str", "integer": "int", "number": "float", "boolean": "bool", "dict": "any"}
        types = [n for n, d in env.decls.items() if isinstance(d, ast.TypeDecl)]
        help = f"write `{words[name.lower()]}`" if name.lower() in words else suggest(name, [*types, *SCALARS, "list"])
        env.report.error("L0202", f"there is no type `{name}`", expr.span, help=help)
        return ANY
    found = env.lookup(name, expr.span, "type")
    if found is None:
        return ANY
    home, own, decl = found
    if not isinstance(decl, ast.TypeDecl):
        env.report.error(
            "L0204", f"`{name}` is {kind_of(decl)}, not a type", expr.span, also=[(decl.name.span, "declared here")]
        )
        return ANY
    return declared(home, own, decl)


def declared(env: Env, name: str, decl: ast.TypeDecl) -> Type:
    """The type that a declaration gives (resolved once)."""
    if name in env.types:
        known = env.types[name]
        if known is None:
            env.report.error(
                "L0310",
                f"type `{name}` is made of itself",
                decl.name.span,
                help="types are finite; use `any` where a value nests freely",
            )
            env.types[name] = ANY
            return ANY
        return known
    env.types[name] = None
    made = resolve(env, decl.type)
    if env.types[name] is None:
        env.types[name] = made
    return env.types[name] or ANY


def _option(env: Env, expr: ast.TypeLiteral) -> str:
    try:
        return literals.text(expr.raw)
    except literals.BadLiteral as e:
        env.report.error("L0104", str(e), expr.span)
        return ""


def _record(env: Env, fields: list[ast.TypeField]) -> Type:
    out: dict[str, Type] = {}
    for f in fields:
        if f.name.name in out:
            env.report.error("L0405", f"field `{f.name.name}` stands twice in this record", f.name.span)
        out[f.name.name] = resolve(env, f.type)
    return Record(tuple(out.items()))


def _union(env: Env, expr: ast.TypeUnion, options: list[ast.TypeExpr]) -> Type:
    choices: list[str] = []
    maybe = False
    for option in options:
        made = resolve(env, option)
        if made == NONE:
            maybe = True
        elif isinstance(made, Choice):
            for o in made.options:
                if o in choices:
                    env.report.error("L0307", f'option "{o}" stands twice in this choice', option.span)
                else:
                    choices.append(o)
        elif (
            made != ANY and len(options) == 2 and any(isinstance(o, ast.TypeName) and o.name == "none" for o in options)
        ):
            return Maybe(made)
        elif made != ANY:
            env.report.error(
                "L0307",
                "only texts can be joined by `|`",
                option.span,
                f"this is {made}",
                help='a choice is `"yes" | "no"`; a value that may be absent is `T?`',
            )
            return ANY
    out: Type = Choice(tuple(choices)) if choices else ANY
    return Maybe(out) if maybe else out
