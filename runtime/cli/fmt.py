"""`lampc fmt`: `.lmp` files in their one layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fmt(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="`.lmp` files, or - for standard input.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a file would change.")] = False,
) -> None:
    """Rewrite `.lmp` files in their one layout. Comments stay; formatting twice changes nothing more.

    \b
    Examples:
      lampc fmt qa.lmp
      lampc fmt --check programs/*.lmp
      cat qa.lmp | lampc fmt -
    """
    from lampc.frontend.lmp import format_lmp
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.sources import read_text

    changed = []
    for file in files:
        if str(file) != "-" and file.suffix != ".lmp":
            raise CommandError(f"{file}: only .lmp files are formatted")
        text = read_text(file)
        new = format_lmp(text, "<stdin>" if str(file) == "-" else str(file))
        if str(file) == "-" and not check:
            typer.echo(new, nl=False)
        elif new != text:
            changed.append(file)
            if not check:
                _replace(file, new)
            typer.echo(f"{'would change' if check else 'formatted'} {file}", err=True)
    if check and changed:
        raise typer.Exit(1)


def _replace(file: Path, text: str) -> None:
    """Write beside the file and move into place, so that a crash leaves the old or the new text."""
    import os

    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.chmod(file.stat().st_mode)
        beside.replace(file.resolve())
    finally:
        beside.unlink(missing_ok=True)
