"""`optimize MODULE with STEP(options), ... on ROWS select ROWS by METRIC`, with budget, save and resume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lampc.frontend.lmp import ast, literals
from lampc.frontend.lmp.attributes import constant, dotted
from lampc.frontend.lmp.data import METRICS, SPLITS, dataset, root
from lampc.frontend.lmp.env import Env, kind_of, text_of
from lampc.frontend.lmp.literals import BadLiteral
from lampc.frontend.lmp.program import Function, Program
from lampc.frontend.lmp.report import listed, suggest
from lampc.ir import Unit
from lampc.ir.types import assignable, spelled
from lampc.ir.unit import Dataset, Optimize, StepCheck

BUDGETS = ("calls", "tokens", "time", "money")
_CODES = {"optimizer": "L0605", "option": "L0613", "value": "L0614"}
_NONE = object()


def optimize(
    program: Program, env: Env, decl: ast.OptimizeDecl, unit: Unit, check: StepCheck | None
) -> Optimize | None:
    """An optimisation, its steps checked by `check` if there is one; None after reporting."""
    report = env.report
    target = root(program, env, decl.program)
    steps = tuple(_step(env, maker, check) for maker in decl.steps)
    train = _split(env, decl.train, unit)
    select = _split(env, decl.select, unit) if decl.select else train
    measure = _metric(env, decl, unit)
    if target is not None and train is not None:
        _columns(env, decl, target, unit.datasets[train[0]])
    budget, texts = _clauses(env, decl)
    if target is None or train is None or select is None or measure is None:
        return None
    if train == select and decl.select is None:
        report.warn(
            "L0612",
            "candidates are chosen on the rows they are made of",
            decl.train.span,
            help=f"add `select {train[0]}.dev`",
        )
    return Optimize(
        target.symbol, steps, train, select, measure, tuple(budget.items()), texts.get("save", ""),
        texts.get("resume", ""), decl.span,
    )  # fmt: skip


def _clauses(env: Env, decl: ast.OptimizeDecl) -> tuple[dict[str, float], dict[str, str]]:
    """Bounds by name, and the texts of `save` and `resume`."""
    report = env.report
    budget: dict[str, float] = {}
    texts: dict[str, str] = {}
    seen: dict[str, ast.Clause] = {}
    for clause in decl.clauses:
        if clause.kind in seen:
            first = seen[clause.kind].span
            report.error("L0615", f"`{clause.kind}` stands twice", clause.span, also=[(first, "first said here")])
        seen.setdefault(clause.kind, clause)
        if clause.text is not None:
            texts[clause.kind] = text_of(clause.text, report)
            if not texts[clause.kind]:
                help = f'write `{clause.kind} "name"`'
                report.error("L0615", f"`{clause.kind}` names no file", clause.text.span, help=help)
        for arg in clause.args:
            name = arg.name.name if arg.name else ""
            if name not in BUDGETS:
                help = suggest(name, BUDGETS) or f"a budget bounds {listed(BUDGETS)}"
                report.error("L0609", f"there is no budget of `{name or '?'}`", arg.span, help=help)
                continue
            if name in budget:
                report.error("L0609", f"`{name}` is bounded twice", arg.span)
            value = _constant(env, arg.value, "L0609")
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                budget[name] = float(value)
            elif value is not _NONE:
                help = "`2M` and `900s` are numbers"
                report.error("L0609", "a budget is a number above 0", arg.value.span, help=help)
    return budget, texts


def _constant(env: Env, expr: ast.Expr, code: str) -> Any:
    """The value of a literal, `_NONE` after reporting that it is none."""
    try:
        return constant(expr)
    except BadLiteral as e:
        name = dotted(expr)
        help = f"what is named is written as a text: {literals.quote(name)}" if name is not None else ""
        env.report.error(code, str(e), expr.span, help=help)
        return _NONE


def _step(env: Env, maker: ast.Maker, check: StepCheck | None) -> tuple[str, tuple[tuple[str, Any], ...]]:
    name = maker.name.name
    given: dict[str, Any] = {}
    args: dict[str, ast.Arg] = {}
    for arg in maker.args:
        if arg.name is None:
            help = f"write `{name}(option: ...)`"
            env.report.error("L0613", "options of an optimizer are named", arg.span, help=help)
            continue
        if arg.name.name in args:
            env.report.error("L0613", f"`{arg.name.name}` is given twice", arg.span)
            continue
        args[arg.name.name] = arg
        value = _constant(env, arg.value, "L0614")
        if value is not _NONE:
            given[arg.name.name] = value
            _mention(env, value)
    for finding in check(name, given) if check is not None else ():
        if finding.option in args and finding.option not in given:
            continue  # it was told already what is wrong with it
        arg_ = args.get(finding.option)
        at = maker.name.span if arg_ is None else arg_.value.span if finding.kind == "value" else arg_.span
        if finding.kind == "option" and arg_ is not None and arg_.name is not None:
            at = arg_.name.span
        env.report.error(_CODES[finding.kind], finding.message, at, help=finding.help)
    return name, tuple(given.items())


def _mention(env: Env, value: Any) -> None:
    """Models and retrievers that an option names are used: a teacher, a proposer, stores to choose from."""
    for text in _texts(value):
        if isinstance(env.decls.get(text), ast.ModelDecl | ast.RetrieverDecl):
            env.used.add(text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _split(env: Env, ident: ast.Ident, unit: Unit) -> tuple[str, str] | None:
    name, _, split = ident.name.rpartition(".")
    if not name:
        name, split = split, ""
    found = env.lookup(name, ident.span, "dataset")
    if found is None:
        return None
    home, own, decl = found
    if not isinstance(decl, ast.DatasetDecl):
        env.report.error("L0601", f"`{name}` is {kind_of(decl)}, not a dataset", ident.span)
        return None
    if home is not env and own not in unit.datasets:
        made = dataset(home, decl)
        if made is not None:
            unit.datasets[own] = made
    if own not in unit.datasets:
        return None
    known = [s for s, _ in unit.datasets[own].sizes] or list(SPLITS)
    if split not in known:
        help = suggest(split, known) or f"it has {listed(known)}"
        env.report.error("L0601", f"dataset `{name}` has no split `{split}`", ident.span, help=help)
        return None
    return own, split


def _metric(env: Env, decl: ast.OptimizeDecl, unit: Unit) -> str | None:
    if decl.metric.name in METRICS:
        return decl.metric.name
    found = env.lookup(decl.metric.name, decl.metric.span, "metric")
    if found is None:
        return None
    home, name, target = found
    if not isinstance(target, ast.MetricDecl):
        env.report.error("L0204", f"`{decl.metric.name}` is {kind_of(target)}, not a metric", decl.metric.span)
        return None
    if home is not env:
        env.report.error(
            "L0604", f"metric `{decl.metric.name}` belongs to another file", decl.metric.span, help="declare it here"
        )
        return None
    return name if name in unit.metrics else None


def _columns(env: Env, decl: ast.OptimizeDecl, target: Function, data: Dataset) -> None:
    columns = {c.name: c for c in data.columns}
    for f in target.inputs:
        if f.name not in columns:
            help = suggest(f.name, columns) or f"its columns are {listed(columns)}"
            message = f"dataset `{data.name}` has no column for the input `{f.name}`"
            env.report.error("L0602", message, decl.train.span, help=help)
        elif not assignable(columns[f.name].type, f.type):
            other = spelled(columns[f.name].type)
            message = f"input `{f.name}` is {spelled(f.type)}, the column of `{data.name}` is {other}"
            env.report.error("L0602", message, decl.train.span)
    inputs = {f.name for f in target.inputs}
    if not any(n in target.returns.names() and n not in inputs for n in columns) and not _compared(decl, env):
        message = f"dataset `{data.name}` has no column of any output of `{decl.program.name}`"
        help = f"name a column like an output ({listed(target.returns.names())}), or say `@fields(column, output)`"
        env.report.error("L0602", message, decl.train.span, help=help)


def _compared(decl: ast.OptimizeDecl, env: Env) -> bool:
    target = env.decls.get(decl.metric.name)
    return isinstance(target, ast.MetricDecl) and any(a.name == "fields" for a in target.attrs)
