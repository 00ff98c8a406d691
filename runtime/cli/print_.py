"""`lampc print`: a program as IR text, as `.lmp` source, or as a tree."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Form(StrEnum):
    LIR = "lir"
    LMP = "lmp"
    TREE = "tree"


def print_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A program: .lmp, .py, .lir, .lampc.")],
    form: Annotated[Form, typer.Option("--as", help="IR text, source of the language, or a tree to read.")] = Form.LIR,
    after: Annotated[
        str, typer.Option("--after", metavar="PASS", help="After the standard pipeline as far as PASS.")
    ] = "",
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help="After these passes.")] = "",
    locs: Annotated[bool, typer.Option("--locs", help="With the place in the source of every op.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Lower for this model.")] = None,
) -> None:
    """Print a program in one of its text forms.

    IR text parses back to the same program (`lampc print x.lir`); `--as lmp` turns Python into `.lmp` source.

    \b
    Examples:
      lampc print qa.lmp
      lampc print qa.py --as lmp > qa.lmp
      lampc print qa.lmp --after lower-kv
      lampc print qa.lmp --as tree -p inline,cse,dce
    """
    from lampc.ir import print_module
    from lampc.passes.manager import Pipeline
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.lowering import context, up_to
    from lampc.runtime.cli.sources import load, note_dynamic

    if after and pipeline:
        raise CommandError("give --after or --pipeline, not both")
    loaded = load(file)
    module = loaded.module
    passes = up_to(after) if after else pipeline
    if passes:
        module = module.clone()
        parsed = Pipeline.parse(passes)
        with context(loaded, module, parsed, model) as ctx:
            parsed.run(module, ctx)
    if form is not Form.LMP:
        note_dynamic(loaded)
    match form:
        case Form.LIR:
            typer.echo(print_module(module, locs=locs), nl=False)
        case Form.LMP:
            if passes:
                raise CommandError("--as lmp prints a program as it was written: give no passes")
            from lampc.frontend.lmp import emit_lmp

            typer.echo(emit_lmp(loaded.unit), nl=False)
        case Form.TREE:
            from lampc.runtime.pictures import picture, reachable
            from lampc.runtime.pictures.tree import tree

            entry = loaded.unit.entry
            drawn = reachable(module, entry) if entry else None
            typer.echo(tree(picture(module, assignment=loaded.assignment, functions=drawn)), nl=False)
