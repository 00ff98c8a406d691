"""Datasets and metrics: what a unit holds beside its module; and what optimisations and tests name."""

from __future__ import annotations

import os

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.attributes import allowed, bad, words
from lampc.frontend.lmp.definitions import arguments, host, wrong_kind
from lampc.frontend.lmp.env import Env, kind_of
from lampc.frontend.lmp.functions import metric as metric_function
from lampc.frontend.lmp.program import Function, Program
from lampc.frontend.lmp.signatures import fields_of
from lampc.frontend.lmp.typing import resolve
from lampc.ir import ANY, BOOL, FLOAT, INT
from lampc.ir.unit import Dataset, Metric

SPLITS = ("train", "dev", "test")
METRICS = ("exact_match", "f1")
"""Metrics that need no declaration."""
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
