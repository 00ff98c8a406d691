"""`lampc test`: the tests that programs declare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lampc.runtime.cli.engines import Backend, TensorParallel, engine_options


def declared_tests(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Programs that declare tests.")],
    keyword: Annotated[str, typer.Option("-k", metavar="TEXT", help="Only tests with this in their name.")] = "",
    model: Annotated[
        str | None, typer.Option("--model", help="For calls that are not mocked: firefly, a folder, or a URL.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show outputs and calls of every test.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of all random draws.")] = 0,
    backend: Backend = None,
    tensor_parallel: TensorParallel = None,
) -> None:
    """Run the tests declared in programs.

    Mocked predictors and tools answer as the test says: no model is needed for them. Exit code 1 if a test fails, 2 if
    -k fits none.

    \b
    Examples:
      lampc test qa.lmp
      lampc test qa.lmp -k "capital" -v
    """
    import time

    from lampc.ir.diag import there_are
    from lampc.runtime.cli.sources import load
    from lampc.runtime.session import Session
    from lampc.runtime.testing import run_test

    started = time.perf_counter()
    passed = failed = 0
    names: list[str] = []
    options = engine_options(backend, tensor_parallel)
    for file in files:
        loaded = load(file)
        names += [t.name for t in loaded.unit.tests]
        wanted = [t for t in loaded.unit.tests if keyword.lower() in t.name.lower()]
        with Session(model=model, base=loaded.base, seed=seed, model_options=options) as session:
            for case in wanted:
                result = run_test(loaded.unit, case, session)
                passed, failed = passed + result.passed, failed + (not result.passed)
                typer.echo(f"{'ok  ' if result.passed else 'FAIL'} {file}: {case.name}")
                for failure in result.failures:
                    typer.echo(f"       expected: {failure}")
                if verbose or result.failures:
                    typer.echo(f"       outputs: {result.outputs}")
                    for step in result.trace:
                        typer.echo(f"       {step.predictor}({step.inputs}) -> {step.outputs}")
    if names and not passed + failed:
        there = there_are(f"`{name}`" for name in dict.fromkeys(names))
        typer.echo(f"error: -k {keyword}: no test has this in its name; {there}", err=True)
        raise typer.Exit(2)
    if not names:
        typer.echo("no tests", err=True)
    typer.echo(f"{passed} passed, {failed} failed in {time.perf_counter() - started:.1f} s")
    if failed:
        raise typer.Exit(1)
