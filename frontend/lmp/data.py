"""Datasets, metrics, optimisations and tests: what a unit holds beside its module."""

from __future__ import annotations

import os
from typing import Any

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.attributes import allowed, bad, constant, words
from lampc.frontend.lmp.definitions import arguments, host, wrong_kind
from lampc.frontend.lmp.env import Env, kind_of, text_of
from lampc.frontend.lmp.functions import metric as metric_function
from lampc.frontend.lmp.literals import BadLiteral
from lampc.frontend.lmp.program import Function, Program
from lampc.frontend.lmp.report import listed, suggest
from lampc.frontend.lmp.signatures import fields_of
from lampc.frontend.lmp.typing import resolve
from lampc.ir import ANY, BOOL, FLOAT, INT, Unit
from lampc.ir.types import assignable, spelled
from lampc.ir.unit import Dataset, Metric, Optimize

SPLITS = ("train", "dev", "test")
OPTIMIZERS = ("labeled", "bootstrap", "random", "instructions")
METRICS = ("exact_match", "f1")
"""Metrics that need no declaration."""
BUDGETS = ("calls", "tokens", "time")
_LOADER = ("split", *SPLITS, "seed")


def dataset(env: Env, decl: ast.DatasetDecl) -> Dataset | None:
    """A dataset, its path relative to the main file; None after reporting."""
    report = env.report
    columns = fields_of(env, decl.columns)
    made = arguments(env, decl.maker, {"csv": _LOADER, "jsonl": _LOADER}, "L0603")
    if made is None:
        return None
    column = wrong_kind(env, made, "split", str, "L0603", "")
    sizes = tuple((s, wrong_kind(env, made, s, int, "L0603", 0)) for s in SPLITS if s in made.named)
    seed = wrong_kind(env, made, "seed", int, "L0603", 0)
    if column and sizes:
        report.error(
            "L0603", "rows are split by a column or by sizes, not both", decl.maker.span, help="leave one of them out"
        )
    elif not column and not sizes:
        help = 'write `split: "column"`, or sizes: `train: 60, dev: 60, seed: 7`'
        report.error("L0603", f"dataset `{decl.name.name}` has no splits", decl.maker.span, help=help)
    for s, n in sizes:
        if n < 1:
            report.error("L0603", f"`{s}` is a number of rows, at least 1", made.spans[s])
    if not columns:
        report.error("L0603", f"dataset `{decl.name.name}` has no columns", decl.name.span)
    path = made.first
    if not env.main and "://" not in path and not os.path.isabs(path):
        path = os.path.join(os.path.dirname(env.file.path), path)
    return Dataset(decl.name.name, tuple(columns), made.kind, path, column, sizes, seed, decl.span)


def metric(program: Program, env: Env, decl: ast.MetricDecl) -> Metric | None:
    """A metric; the function of one written here goes into the module. None after reporting."""
    attrs = allowed(decl.attrs, "metric", env.report)
    inputs = fields_of(env, decl.params)
    returns = resolve(env, decl.returns)
    name = decl.name.name
    if len(decl.params) != 2:
        help = f"`metric {name}(gold: str, pred: str) -> float = ...`"
        env.report.error("L0604", "a metric compares two values", decl.name.span, help=help)
        return None
    if returns not in (FLOAT, INT, BOOL, ANY):
        env.report.error("L0604", f"a metric gives a number, this is {returns}", decl.returns.span)
        return None
    compared: tuple[str, ...] = ()
    if "fields" in attrs:
        chosen = words(attrs["fields"])
        if chosen is None or len(chosen) != 2:
            bad(env.report, attrs["fields"])
        else:
            compared = tuple(n for n, _ in chosen)
    if decl.maker is not None:
        ref = host(env, decl.maker, [])
        return None if ref is None else Metric(name, ref.target, compared, True, decl.span)
    metric_function(program, env, decl, inputs, returns)
    return Metric(name, name, compared, False, decl.span)


def optimize(program: Program, env: Env, decl: ast.OptimizeDecl, unit: Unit) -> Optimize | None:
    """An optimisation; None after reporting."""
    report = env.report
    target = root(program, env, decl.program)
    steps = tuple(s for s in (_step(env, m) for m in decl.steps) if s is not None)
    train = _split(env, decl.train, unit)
    select = _split(env, decl.select, unit) if decl.select else train
    measure = _metric(env, decl, unit)
    if target is not None and train is not None:
        _columns(env, decl, target, unit.datasets[train[0]])
    budget: dict[str, float] = {}
    texts = {"save": "", "resume": ""}
    for clause in decl.clauses:
        if clause.text is not None:
            texts[clause.kind] = text_of(clause.text, report)
            continue
        for arg in clause.args:
            name = arg.name.name if arg.name else ""
            if name not in BUDGETS:
                help = suggest(name, BUDGETS) or f"a budget bounds {listed(BUDGETS)}"
                report.error("L0609", f"there is no budget of `{name or '?'}`", arg.span, help=help)
                continue
            value = _constant(env, arg.value, "L0609")
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                budget[name] = float(value)
            elif value is not None:
                report.error(
                    "L0609", "a budget is a number above 0", arg.value.span, help="`2M` and `900s` are numbers"
                )
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
        target.symbol, steps, train, select, measure, tuple(budget.items()), texts["save"], texts["resume"], decl.span
    )


def root(program: Program, env: Env, ident: ast.Ident) -> Function | None:
    """The function of a module that a file runs, tests or optimises."""
    found = env.lookup(ident.name, ident.span, "module")
    if found is None:
        return None
    home, name, decl = found
    if not isinstance(decl, ast.ModuleDecl):
        env.report.error("L0204", f"`{ident.name}` is {kind_of(decl)}, not a module", ident.span)
        return None
    if name not in program.roots and home is not env:
        from lampc.frontend.lmp.functions import instance

        made = instance(program, home, decl, "", program.take(name))
        if made is not None:
            program.roots[name] = made
    return program.roots.get(name)


def _constant(env: Env, expr: ast.Expr, code: str) -> Any:
    try:
        return constant(expr)
    except BadLiteral as e:
        env.report.error(code, str(e), expr.span)
        return None


def _step(env: Env, maker: ast.Maker) -> tuple[str, tuple[tuple[str, Any], ...]] | None:
    name = maker.name.name
    if name not in OPTIMIZERS:
        help = suggest(name, OPTIMIZERS) or f"there are {listed(OPTIMIZERS)}"
        env.report.error("L0605", f"there is no optimizer `{name}`", maker.name.span, help=help)
        return None
    given: dict[str, Any] = {}
    for arg in maker.args:
        if arg.name is None:
            env.report.error("L0605", "options of an optimizer are named", arg.span)
        elif arg.name.name in given:
            env.report.error("L0605", f"`{arg.name.name}` is given twice", arg.span)
        else:
            given[arg.name.name] = _constant(env, arg.value, "L0605")
    return name, tuple(given.items())


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
