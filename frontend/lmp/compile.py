"""From the text of a `.lmp` file to a unit: parse, resolve, check and lower in one walk."""

from __future__ import annotations

import os
from pathlib import Path

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.data import dataset, metric
from lampc.frontend.lmp.env import Env, text_of
from lampc.frontend.lmp.functions import instance
from lampc.frontend.lmp.optimisation import optimize
from lampc.frontend.lmp.parser import parse
from lampc.frontend.lmp.program import Program
from lampc.frontend.lmp.report import Reporter
from lampc.frontend.lmp.signatures import signature
from lampc.frontend.lmp.tests import test
from lampc.frontend.lmp.typing import declared
from lampc.ir import Span, Unit, check
from lampc.ir.unit import StepCheck


def compile_lmp(text: str, path: str = "<lmp>", steps: StepCheck | None = None) -> Unit:
    """Compile a file. Raises CompileError with every error found; warnings go to `unit.warnings`.

    `path` names the file in diagnostics; imports are read relative to it. `steps` says what is wrong with steps of
    optimisations (`lampc.passes.optimize.findings`); without it any optimizer and any options pass.
    """
    report = Reporter()
    program = Program(report)
    try:
        unit = lower(load(text, path, report, True, {}), program, steps)
    except RecursionError:
        report.too_deep(path, text)
    report.raise_if_failed()
    unit.module = program.assemble()
    check(unit.module)
    unit.warnings = list(report.ordered("warning"))
    return unit


def load(text: str, path: str, report: Reporter, main: bool, loaded: dict[str, Env | None]) -> Env:
    """Parse a file and those it imports, and enter what they declare."""
    env = Env(parse(text, path, report), Path(path).parent, report, main)
    loaded[os.path.normpath(path)] = None
    env.declare()
    if main and not env.file.items and not report.failed:
        report.warn("L0109", "this file declares nothing", Span(path, 1, 1), help="write a `signature` and a `module`")
    for item in env.file.items:
        if isinstance(item, ast.Import):
            name = text_of(item.path, report)
            alias = item.alias.name if item.alias else Path(name).stem
            at = (item.alias or item.path).span
            if not alias.isidentifier():
                report.error("L0206", f"`{alias}` cannot be a name", at, help='write `import "..." as name;`')
            elif env.enter(alias, at):
                env.imports[alias] = imported(env, item, name, loaded)
    loaded[os.path.normpath(path)] = env
    return env


def imported(env: Env, item: ast.Import, name: str, loaded: dict[str, Env | None]) -> Env | None:
    """The file that an import names; None after reporting L0206."""
    path = os.path.normpath(os.path.join(os.path.dirname(env.file.path), name))
    if path in loaded:
        if loaded[path] is None:
            env.report.error("L0206", f"`{name}` imports this file in turn", item.path.span, help="break the circle")
        return loaded[path]
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else "it is no UTF-8 text"
        env.report.error("L0206", f"`{name}` cannot be read: {why}", item.path.span, help=f"looked for {path}")
        loaded[path] = None
        return None
    return load(text, path, env.report, False, loaded)


def lower(env: Env, program: Program, steps: StepCheck | None = None) -> Unit:
    """Everything that the main file declares, in its order."""
    items = env.file.items
    unit = Unit(program.assemble(), "", env.file.path)
    roots = _roots(env)
    for item in items:
        name = item.name.name if isinstance(item, ast.TypeDecl | ast.SignatureDecl | ast.ModuleDecl) else ""
        if name and env.decls.get(name) is not item:
            continue
        match item:
            case ast.TypeDecl():
                declared(env, name, item)
            case ast.SignatureDecl():
                signature(env, name, item)
            case ast.ModelDecl() | ast.RetrieverDecl():
                program.define(env, item)
            case ast.ToolDecl() if not item.host:
                program.define(env, item)
            case ast.ModuleDecl() if name in roots:
                made = instance(program, env, item, "", program.take(name))
                if made is not None:
                    program.roots[name] = made
                    unit.entry = made.symbol
            case ast.MetricDecl():
                score = metric(program, env, item)
                if score is not None:
                    unit.metrics[score.name] = score
            case ast.DatasetDecl():
                data = dataset(env, item)
                if data is not None:
                    unit.datasets[data.name] = data
    for item in items:
        if isinstance(item, ast.OptimizeDecl):
            wish = optimize(program, env, item, unit, steps)
            if wish is not None:
                unit.optimizes.append(wish)
    number = 0
    for item in items:
        if isinstance(item, ast.TestDecl):
            number += 1
            case = test(program, env, item, number)
            if case is not None:
                unit.tests.append(case)
    _unused(env)
    return unit


def _roots(env: Env) -> set[str]:
    """Modules that no other uses, and those that are run, tested or optimised by name."""
    modules = {i.name.name: i for i in env.file.items if isinstance(i, ast.ModuleDecl)}
    nested = {s.maker.name for m in modules.values() for s in m.body if isinstance(s, ast.Use)}
    named = {i.program.name for i in env.file.items if isinstance(i, ast.OptimizeDecl)}
    for item in env.file.items:
        if isinstance(item, ast.TestDecl):
            named |= {s.program.name for s in item.body if isinstance(s, ast.Run)}
    roots = {n for n in modules if n not in nested or n in named}
    return roots or set(modules)


def _unused(env: Env) -> None:
    for alias in env.imports:
        if alias not in env.used:
            env.report.warn("L0207", f"`{alias}` is never used", env.places[alias], help="remove the import")
    for name, decl in env.decls.items():
        if name in env.used or name in env.file.lost:
            continue
        if isinstance(decl, ast.ModelDecl) and name != "main":
            env.report.warn("L0207", f"model `{name}` is never used", decl.name.span, help=f"`@model({name})` uses it")
