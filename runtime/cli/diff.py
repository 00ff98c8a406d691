"""`lampc diff`: what two programs say differently, and what that is worth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lampc.runtime.reports.side import Side

_THING = "A tuned program (.lampc), a run's folder, or a source (.lmp, .py, .lir)."


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help=_THING)],
    b: Annotated[Path, typer.Argument(metavar="B", help="The other one.")],
    prompts: Annotated[bool, typer.Option("--prompts", help="What predictors send, line by line, too.")] = False,
    ir: Annotated[bool, typer.Option("--ir", help="The programs as IR text, too.")] = False,
) -> None:
    """Show what differs between two programs: instructions word by word, demos added and removed, other parameters.

    [-this-] is only in A, {+this+} only in B. Where both were scored on the same rows by the same metric (their runs'
    folders are still there), the difference of scores has a 95 % interval over pairs of rows.

    \b
    Examples:
      lampc diff qa.lmp qa.lampc
      lampc diff out/mipro out/gepa
      lampc diff monday.lampc tuesday.lampc --prompts
    """
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.reports.changes import compare
    from lampc.runtime.reports.side import gain
    from lampc.runtime.reports.told import changes_text, gain_text

    sides = [_side(path) for path in (a, b)]
    first, second = sides
    found = compare(first.module, first.assignment, second.assignment, second.module)
    if not found.predictors and found.only_before and found.only_after:
        raise CommandError(f"{a} and {b} have no predictor in common: they are different programs")
    typer.echo(f"--- {a}\n+++ {b}")
    color = sys.stdout.isatty()
    typer.echo(changes_text(found, color=color, prompts=prompts) or "the predictors and their parameters are the same")
    if ir or _functions(first) != _functions(second):
        typer.echo(_ir(first, second) if ir else "the programs around them differ: --ir shows how")
    worth = gain(first, second)
    if worth is not None:
        typer.echo(f"\nscore: {_score(first)} -> {_score(second)}, {gain_text(*worth)}")
    elif first.score is not None or second.score is not None:
        typer.echo(f"\nscore: {_score(first)} -> {_score(second)} (not known to be on the same rows)")


def _side(path: Path) -> Side:
    from lampc.runtime.cli.sources import load
    from lampc.runtime.reports.side import Side, of_run, of_saved
    from lampc.runtime.saved import needed

    if path.is_dir() or path.suffix == ".json":
        return of_run(path)
    if path.suffix == ".lampc":
        return of_saved(path)
    loaded = load(path)
    return Side(str(path), needed(loaded.unit), loaded.assignment)


def _score(side: Side) -> str:
    return "?" if side.score is None else f"{side.score:.1f}"


def _functions(side: Side) -> list[str]:
    from lampc.ir import print_op
    from lampc.ir.prog import Func

    return sorted(print_op(op) for op in side.module.body.ops if isinstance(op, Func))


def _ir(a: Side, b: Side) -> str:
    import difflib

    from lampc.runtime.saved import applied

    old, new = (str(applied(side.module, side.assignment)).splitlines() for side in (a, b))
    return "\n".join(difflib.unified_diff(old, new, fromfile=a.name, tofile=b.name, lineterm="", n=2))
