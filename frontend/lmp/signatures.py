"""Signature declarations to signatures."""

from __future__ import annotations

from dataclasses import replace

from lampc.frontend.lmp import ast, literals
from lampc.frontend.lmp.attributes import allowed, constant, one
from lampc.frontend.lmp.env import Env, SignatureInfo, kind_of, text_of
from lampc.frontend.lmp.report import listed, suggest
from lampc.frontend.lmp.typing import resolve
from lampc.ir import STR, Field, Obj, Signature, freeze
from lampc.ir.adapters.arranged import complete, misplaced, own_blocks
from lampc.ir.content import Demo
from lampc.ir.types import mismatch

REASONING = Field("reasoning", STR)
"""The first output that a chain of thought adds."""


def find_signature(env: Env, path: str, at: ast.Node) -> SignatureInfo | None:
    """The signature that `path` names, or None after reporting."""
    found = env.lookup(path, at.span, "signature")
    if found is None:
        return None
    home, name, decl = found
    if not isinstance(decl, ast.SignatureDecl):
        env.report.error(
            "L0204", f"`{path}` is {kind_of(decl)}, not a signature", at.span, also=[(decl.name.span, "declared here")]
        )
        return None
    return signature(home, name, decl)


def signature(env: Env, name: str, decl: ast.SignatureDecl) -> SignatureInfo:
    """The signature that a declaration gives (resolved once)."""
    known = env.signatures.get(name)
    if known is None:
        known = env.signatures[name] = _resolve(env, decl)
    return known


def fields_of(env: Env, params: list[ast.Param], where: str = "parameter") -> list[Field]:
    """Typed fields of a parameter list. Reports names that stand twice."""
    out: dict[str, Field] = {}
    for p in params:
        attrs = allowed(p.attrs, where, env.report)
        if p.name.name in out:
            env.report.error("L0405", f"`{p.name.name}` stands twice in this list", p.name.span)
            continue
        made = Field(p.name.name, resolve(env, p.type))
        if "max" in attrs:
            made = replace(made, max_tokens=_bound(env, attrs["max"]))
        if "constraints" in attrs:
            made = replace(made, constraints=one(attrs["constraints"], str, env.report) or "")
        out[made.name] = made
    return list(out.values())


def with_reasoning(made: Signature) -> Signature:
    """The signature of a chain of thought over `made`."""
    return replace(made, outputs=(REASONING, *made.outputs))


def _resolve(env: Env, decl: ast.SignatureDecl) -> SignatureInfo:
    report = env.report
    attrs = allowed(decl.attrs, "signature", report)
    inputs = fields_of(env, decl.inputs, "field")
    outputs = fields_of(env, decl.outputs, "field")
    for attr in (a for p in decl.inputs for a in p.attrs if a.name == "max"):
        report.warn(
            "L0409", "`@max` says nothing of an input", attr.span, help="bound an output: it is what is generated"
        )
    if not outputs:
        report.error("L0408", f"signature `{decl.name.name}` has no output", decl.name.span, help="name what it gives")
    for f in [f for f in outputs if any(i.name == f.name for i in inputs)]:
        p = next(p for p in decl.outputs if p.name.name == f.name)
        report.error("L0405", f"`{f.name}` is both an input and an output", p.name.span)
    instruction: str | None = None
    demos: list[Demo] = []
    kept: list[Demo] = []
    order: ast.OrderDecl | None = None
    for part in decl.body:
        if isinstance(part, ast.Doc):
            if instruction is not None:
                report.error("L0405", "a signature has one instruction", part.span)
            instruction = text_of(part.text, report)
        elif isinstance(part, ast.FieldDoc):
            _describe(env, part, inputs, outputs)
        elif isinstance(part, ast.OrderDecl):
            if order is not None:
                report.error("L0405", "a signature has one `layout`", part.span)
            order = part
        else:
            demo = _demo(env, part, [*inputs, *outputs])
            held = kept if any(a.name == "frozen" for a in part.attrs) else demos
            held += [demo] if demo else []
    name = one(attrs["name"], str, report) if "name" in attrs else decl.name.name
    made = Signature(tuple(inputs), tuple(outputs), "", name or "")
    made = made.with_instruction(made.default_instruction() if instruction is None else instruction)
    blocks, fixed = _order(env, order, made) if order is not None else ((), False)
    return SignatureInfo(made, tuple(demos), tuple(kept), blocks, fixed)


def _order(env: Env, part: ast.OrderDecl, made: Signature) -> tuple[tuple[str, ...], bool]:
    """The order of all blocks that a `layout` asks for, and whether it stays; () after reporting."""
    attrs = allowed(part.attrs, "layout", env.report)
    if "frozen" in attrs and attrs["frozen"].args:
        env.report.error("L0409", "`@frozen` of a layout takes nothing", attrs["frozen"].span, help="write `@frozen`")
    try:
        own = own_blocks(made)
    except ValueError as e:
        env.report.error("L0418", str(e), part.span)
        return (), False
    named: dict[str, ast.Ident] = {}
    for name in part.names:
        if name.name not in own:
            help = suggest(name.name, own) or f"a prompt of this signature has {listed(own)}"
            env.report.error("L0418", f"the prompt has no block `{name.name}`", name.span, help=help)
        elif name.name in named:
            env.report.error("L0418", f"`{name.name}` stands twice in this layout", name.span)
        else:
            named[name.name] = name
    blocks = complete(named, made)
    if wrong := misplaced(blocks, made):
        env.report.error("L0418", wrong, part.span)
        return (), False
    return blocks, "frozen" in attrs


def _describe(env: Env, part: ast.FieldDoc, inputs: list[Field], outputs: list[Field]) -> None:
    attrs = allowed(part.attrs, "field", env.report)
    for group in (inputs, outputs):
        for i, f in enumerate(group):
            if f.name == part.name.name:
                if f.desc:
                    env.report.error("L0406", f"field `{f.name}` is described twice", part.name.span)
                group[i] = replace(f, desc=text_of(part.desc, env.report))
                if "max" in attrs:
                    group[i] = replace(group[i], max_tokens=_bound(env, attrs["max"]))
                if "constraints" in attrs:
                    group[i] = replace(group[i], constraints=one(attrs["constraints"], str, env.report) or "")
                return
    names = [f.name for f in (*inputs, *outputs)]
    help = suggest(part.name.name, names) or f"its fields are {listed(names)}"
    env.report.error("L0406", f"the signature has no field `{part.name.name}`", part.name.span, help=help)


def _bound(env: Env, attr: ast.Attribute) -> int:
    """The tokens that `@max` leaves an output, 0 after reporting."""
    most: int | None = one(attr, int, env.report)
    if most is not None and most < 1:
        env.report.error("L0409", "`@max` leaves an output one token or more", attr.span, help="write `@max(24)`")
    return max(most or 0, 0)


def _demo(env: Env, part: ast.DemoDecl, fields: list[Field]) -> Demo | None:
    attrs = allowed(part.attrs, "demo", env.report)
    if "frozen" in attrs and attrs["frozen"].args:
        env.report.error("L0409", "`@frozen` of a demo takes nothing", attrs["frozen"].span, help="write `@frozen`")
    known = {f.name: f for f in fields}
    values = {}
    for arg in part.values.args:
        if arg.name is None:
            continue
        name = arg.name.name
        if name != "reasoning" and name not in known:
            help = suggest(name, known) or f"its fields are {listed(known)}"
            env.report.error("L0407", f"the signature has no field `{name}`", arg.name.span, help=help)
            continue
        if name in values:
            env.report.error("L0407", f"`{name}` is given twice", arg.name.span)
        try:
            value = constant(arg.value)
        except literals.BadLiteral as e:
            env.report.error("L0407", str(e), arg.value.span)
            continue
        why = mismatch(value, known[name].type) if name in known else None
        if why:
            env.report.error("L0407", f"`{name}` of this demo: {why}", arg.value.span)
        values[name] = freeze(value)
    if not values:
        if not part.values.args:
            env.report.error("L0407", "this demo says nothing", part.span)
        return None
    return Demo(Obj(tuple(values.items())), "augmented" in attrs)
