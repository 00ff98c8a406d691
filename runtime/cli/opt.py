"""`lampc opt`: run passes and look at what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def opt(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A program: .lmp, .py, .lir, .lampc.")] = None,
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help="Passes, as `inline,cse,dce`.")] = "",
    print_before: Annotated[list[str], typer.Option(metavar="PASS", help="Show the IR before it (or `all`).")] = [],  # noqa: B006
    print_after: Annotated[list[str], typer.Option(metavar="PASS", help="Show the IR after it (or `all`).")] = [],  # noqa: B006
    diff: Annotated[bool, typer.Option("--diff", help="Show after a pass what it changed only.")] = False,
    time: Annotated[bool, typer.Option("--time", help="A table of times and counters.")] = False,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Verify after every pass.")] = True,
    round_trip: Annotated[bool, typer.Option("--round-trip", help="Also parse what is printed, and compare.")] = False,
    crash_dir: Annotated[Path, typer.Option(help="Where a reproducer is written if a pass fails.")] = Path("crash"),
    on_trial: Annotated[bool, typer.Option("--on-trial", help="Apply gated passes (G) that have no record.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Lower for this model.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the passes and their options.")] = False,
) -> None:
    """Run passes on a program and print the IR that comes out.

    Each pass is verified, timed and counted. If one fails, the module before it is written to a file, with the
    command that repeats the failure.

    \b
    Examples:
      lampc opt qa.lmp -p inline,cse,dce --time
      lampc opt qa.lmp -p inline,cse,dce,lower-prompts,lower-kv --print-after all --diff
      lampc opt --list
    """
    from lampc.ir import print_module
    from lampc.passes.manager import Pipeline, RunOptions
    from lampc.passes.table import STANDARD
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.lowering import context
    from lampc.runtime.cli.sources import load, note_dynamic

    if listing:
        typer.echo(passes())
        return
    if file is None:
        raise CommandError("name a program, or ask for --list")
    loaded = load(file)
    note_dynamic(loaded)
    parsed = Pipeline.parse(pipeline or STANDARD)
    module = loaded.module.clone()
    options = RunOptions(
        verify_each=verify,
        round_trip=round_trip,
        print_before=_names(print_before),
        print_after=_names(print_after),
        diff=diff,
        time=time,
        crash_dir=crash_dir,
        on_trial=on_trial,
        show=lambda text: typer.echo(text, err=True),
    )
    with context(loaded, module, parsed, model) as ctx:
        parsed.run(module, ctx, options)
    typer.echo(print_module(module), nl=False)


def _names(values: list[str]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(","))


def passes() -> str:
    """Every pass: name, label, duty, options."""
    from lampc.passes.options import options
    from lampc.passes.table import LABELS, PASSES, load

    lines = []
    for name in PASSES:
        cls = load(name)
        duty = (cls.__doc__ or "").strip().splitlines()[0]
        shown = ", ".join(f"{n}={default!r}" for n, _, default in options(cls))
        lines.append(f"{name:<16} {getattr(cls, 'label', '?')}  {duty}" + (f"  [{shown}]" if shown else ""))
    return "\n".join([*lines, "", *(f"{label}  {meaning}" for label, meaning in LABELS.items())])
