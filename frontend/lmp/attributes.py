"""Attributes `@name(args)`: which may stand where, and what they say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lampc.frontend.lmp import ast, literals
from lampc.frontend.lmp.report import Reporter, listed, suggest
from lampc.ir import Sampling, Span
from lampc.ir.adapters import ADAPTERS
from lampc.ir.adapters.registry import kind_of
from lampc.ir.content import PARAMETERS
from lampc.ir.penalties import PENALTIES, SAMPLING, penalties_of

SAMPLE = ("n", *SAMPLING)

ATTRIBUTES: dict[str, tuple[tuple[str, ...], str]] = {
    "max": (("field",), "`@max(24)`: at most so many tokens are generated for the value of this output"),
    "constraints": (("field",), '`@constraints("...")`: what the value must keep to, told to the model'),
    "name": (("signature",), '`@name("...")`: the signature\'s name, where it is no word of the language'),
    "augmented": (("demo",), "`@augmented`: this demo came out of a run, not out of the data"),
    "model": (("use",), "`@model(m)`: ask this model"),
    "cascade": (
        ("use",),
        "`@cascade(small, threshold: 0.9)`: this model is asked first, and its answer stands where it gave it at least "
        "this probability; further arguments are the record of how the threshold was found",
    ),
    "layout": (
        ("use",),
        f"`@layout(chat)`: how prompts are written; one of {', '.join(sorted(n for n in ADAPTERS if kind_of(n) == n))}",
    ),
    "sample": (
        ("use", "call"),
        "`@sample(n: 5, temperature: 0.7)`: how tokens are drawn; with `n`, a list of so many answers",
    ),
    "continue": (
        ("call",),
        "`@continue(d)`: the call goes on where the one that gave `d` ended: behind its prompt and what the model "
        "wrote stands this one's task, with its inputs",
    ),
    "frozen": (
        ("use", "demo", "layout"),
        f"`@frozen(instruction)`: no optimizer changes this; of {', '.join(PARAMETERS)}, or all. "
        '`@frozen(before: "...", after: "...")`: these texts stand around every instruction. '
        "At a demo or a `layout`: it stays",
    ),
    "pure": (("tool",), "`@pure`: no effect, equal answers for equal arguments"),
    "unordered": (("tool",), "`@unordered`: has effects, but their order does not matter"),
    "effect": (("tool",), "`@effect`: has effects that happen in order (the default)"),
    "source": (("tool",), '`@source("...")`: digest of the source of the Python function that is meant'),
    "fields": (("metric",), "`@fields(gold, pred)`: which column is compared with which output"),
}
"""Where each attribute may stand, and what it says (the reference in docs/language.md)."""


def allowed(attrs: Iterable[ast.Attribute], where: str, report: Reporter) -> dict[str, ast.Attribute]:
    """Attributes by name. Reports those that do not exist, do not belong here, or stand twice (L0205)."""
    out: dict[str, ast.Attribute] = {}
    for attr in attrs:
        here = [n for n, (places, _) in ATTRIBUTES.items() if where in places]
        if attr.name not in ATTRIBUTES:
            help = suggest(attr.name, here) or (f"here may stand {listed(here)}" if here else "none may stand here")
            report.error("L0205", f"there is no attribute `@{attr.name}`", attr.span, help=help)
        elif attr.name not in here:
            homes = " or ".join(ATTRIBUTES[attr.name][0])
            report.error("L0205", f"`@{attr.name}` belongs to a {homes}, not to a {where}", attr.span)
        elif attr.name in out:
            report.error("L0205", f"`@{attr.name}` stands twice", attr.span)
        else:
            out[attr.name] = attr
    return out


def bad(report: Reporter, attr: ast.Attribute) -> None:
    """Report that an attribute's arguments are wrong (L0409)."""
    help = ATTRIBUTES[attr.name][1].split("`: ", 1)[0] + "`"
    report.error("L0409", f"`@{attr.name}` does not take these arguments", attr.span, help=f"write {help}")


def words(attr: ast.Attribute) -> list[tuple[str, Span]] | None:
    """The arguments as bare (dotted) names, or None if they are something else."""
    out = []
    for arg in attr.args or []:
        path = dotted(arg.value)
        if arg.name is not None or path is None:
            return None
        out.append((path, arg.span))
    return out


def dotted(expr: object) -> str | None:
    """`a.b` as text, None for anything but names with dots."""
    if isinstance(expr, ast.Var):
        return expr.name
    if isinstance(expr, ast.Get):
        head = dotted(expr.value)
        return None if head is None else f"{head}.{expr.name.name}"
    return None


def constant(expr: object) -> Any:
    """Plain value of a literal expression (lists and records of literals too).

    Raises BadLiteral if the expression is not one.
    """
    match expr:
        case ast.Literal():
            return literals.value(expr)
        case ast.Unary(_, "-", inner):
            made = constant(inner)
            if isinstance(made, int | float) and not isinstance(made, bool):
                return -made
        case ast.ListOfExprs(_, items):
            return [constant(i) for i in items]
        case ast.RecordOfExprs(_, args):
            names = [a.name.name for a in args if a.name is not None]
            for name in names:
                if names.count(name) > 1:
                    raise literals.BadLiteral(f"`{name}` is given twice")
            return {a.name.name: constant(a.value) for a in args if a.name is not None}
    raise literals.BadLiteral("a literal is needed here: a text, a number, true, false, null, or a list of these")


def one(attr: ast.Attribute, kind: type, report: Reporter) -> Any:
    """The single literal argument of type `kind`, or None after reporting."""
    try:
        (arg,) = attr.args or []
        made = constant(arg.value)
    except (ValueError, literals.BadLiteral):
        made = None
    if not isinstance(made, kind) or isinstance(made, bool):
        bad(report, attr)
        return None
    return made


def sampling(attr: ast.Attribute | None, base: Sampling, report: Reporter) -> tuple[Sampling, int]:
    """How tokens are drawn, starting from `base`, and how many samples are wanted (0: no list)."""
    if attr is None:
        return base, 0
    given: dict[str, Any] = {}
    for arg in attr.args or []:
        if arg.name is None or arg.name.name not in SAMPLE:
            name = arg.name.name if arg.name else "this"
            help = suggest(name, SAMPLE) or f"`@sample` takes {listed(SAMPLE)}"
            report.error("L0409", f"`@sample` does not take `{name}`", arg.span, help=help)
            continue
        try:
            given[arg.name.name] = constant(arg.value)
        except literals.BadLiteral as e:
            report.error("L0409", str(e), arg.value.span)
    kinds: dict[str, Any] = {"temperature": (int, float), "top_p": (int, float), "stop": list}
    for name, got in list(given.items()):
        if name in PENALTIES:
            try:
                given.update(penalties_of({name: got}))
            except ValueError as e:
                report.error("L0409", str(e), attr.span)
                del given[name]
            continue
        right = isinstance(got, kinds.get(name, int)) and not isinstance(got, bool)
        if not right or (name != "stop" and got < 0):
            bad(report, attr)
            del given[name]
    n = given.pop("n", 0)
    fields = {f: getattr(base, f) for f in Sampling.__dataclass_fields__}
    fields.update(given)
    for name in ("temperature", "top_p"):
        fields[name] = float(fields[name])
    fields["stop"] = tuple(fields["stop"])
    return Sampling(**fields), n
