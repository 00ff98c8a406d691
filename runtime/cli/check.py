"""`lampc check`: what is wrong with programs, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lampc.ir import Diagnostic, Source
    from lampc.runtime.cli.sources import Loaded


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Programs: .lmp, .py, .lir, .lampc.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list of findings on standard output.")] = False,
) -> None:
    """Check programs without running them.

    Every finding has a code, the place in the file, and how to mend it; `lampc explain CODE` says more. Of a
    Python program that cannot be compiled ahead, the line that made it dynamic is named (that is no error).

    \b
    Examples:
      lampc check qa.lmp
      lampc check --json programs/*.lmp | jq '.[] | .code'
    """
    from lampc.ir import CompileError
    from lampc.runtime.cli.failure import CommandError, diagnostics, message
    from lampc.runtime.cli.sources import load

    records: list[dict[str, Any]] = []
    wrong = 0
    for file in files:
        try:
            loaded = load(file)
            found = _findings(loaded)
            if any(d.severity == "error" for d in found):
                raise CompileError([d for d in found if d.severity == "error"], loaded.sources())
        except CompileError as e:
            wrong += 1
            records += [record(d, file) for d in e.diagnostics]
            if not as_json:
                typer.echo(diagnostics(e), err=True)
        except (CommandError, OSError) as e:
            wrong += 1
            records.append({"file": str(file), "code": "", "severity": "error", "message": str(e)})
            if not as_json:
                typer.echo(message(e), err=True)
        else:
            records += [record(d, file) for d in found]
            if not as_json:
                _say(loaded, found)
    if as_json:
        typer.echo(json.dumps(records, ensure_ascii=False, indent=1))
    if wrong:
        raise typer.Exit(1)


def _findings(loaded: Loaded) -> list[Diagnostic]:
    """Warnings, why the program is dynamic, and what the verifier finds."""
    from lampc.ir import Diagnostic, verify
    from lampc.passes.lower.continuing import parted

    out = [w for w in loaded.unit.warnings if isinstance(w, Diagnostic)]
    if loaded.unit.dynamic is not None:
        out.append(loaded.unit.dynamic)
    return out + ([f.diagnostic() for f in verify(loaded.module)] or parted(loaded.module))


def _say(loaded: Loaded, found: list[Diagnostic]) -> None:
    from lampc.ir import render
    from lampc.runtime.cli.failure import colored

    sources: list[Source] = loaded.sources()
    for d in found:
        typer.echo(render(d, sources, color=colored()) + "\n", err=True)
    typer.echo(f"{loaded.path}: {summary(loaded)}")


def summary(loaded: Loaded) -> str:
    """What a program holds, in one line."""
    from lampc.ir.prog import DefPredictor
    from lampc.runtime.cli.sources import functions

    unit = loaded.unit
    helpers = {m.function for m in unit.metrics.values()} | {e for t in unit.tests for e, _ in t.expects}
    names = ", ".join(f.symbol for f in functions(loaded.module) if f.symbol not in helpers)
    predictors = sum(isinstance(op, DefPredictor) for op in loaded.module.body.ops)
    kind = "dynamic program" if unit.dynamic is not None else "program"
    shown = names or unit.entry
    parts = [
        f"{kind} {shown}" if shown else "no program",
        _count(predictors, "predictor"),
        _count(len(unit.datasets), "dataset"),
        _count(len(unit.metrics), "metric"),
        _count(len(unit.optimizes), "optimisation"),
        _count(len(unit.tests), "test"),
    ]
    return "ok: " + ", ".join(p for p in parts if p)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}" if n else ""


def record(d: Diagnostic, file: Path) -> dict[str, Any]:
    """A diagnostic as plain data."""
    out: dict[str, Any] = {"file": str(file), "code": d.code, "severity": d.severity, "message": d.message}
    if d.primary is not None:
        s = d.primary.span
        out |= {"path": s.path, "line": s.line, "column": s.column}
        out |= {"end_line": s.end_line or s.line, "end_column": s.end_column or s.column + 1}
    if d.help:
        out["help"] = d.help
    if d.notes:
        out["notes"] = list(d.notes)
    return out
