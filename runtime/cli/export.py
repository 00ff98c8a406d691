"""`lampc export`: a program as one Python file that needs an OpenAI client alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A program: .lmp, .py, .lir, .lampc.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to write to.")],
    entry: Annotated[str | None, typer.Option("--entry", help="The program, where the file has several.")] = None,
    model: Annotated[str, typer.Option("--model", help="The model's name at the endpoint (else MODEL says it).")] = "",
) -> None:
    """A program as one readable Python file, with its prompts as JSON beside it.

    The file needs the `openai` package alone, and gives the same answers: of any endpoint that speaks OpenAI's chat
    completions. Instructions and demos are those that the program was tuned to. Python programs send what their
    configured LM sends; without one, as to an endpoint: layout `chat`, and no sampling option that nobody chose.

    \b
    Examples:
      lampc export tuned.lampc --to out/qa
      OPENAI_BASE_URL=http://127.0.0.1:8000/v1 MODEL=m python out/qa/qa.py '{"question": "Who?"}'
    """
    from lampc.ir.settings import settings
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.sources import entry as chosen
    from lampc.runtime.cli.sources import load
    from lampc.runtime.export import NotExportable
    from lampc.runtime.export import export as exported
    from lampc.runtime.lm import LM, BaseLM

    python = file.suffix == ".py"
    if python and settings.get("lm") is None:
        settings.configure(lm=LM(f"openai/{model or 'model'}"))  # whoever answers, it is an endpoint
    loaded = load(file)
    func = chosen(loaded, entry)
    try:
        made = exported(
            loaded.unit, loaded.assignment, entry=func.symbol if func else entry, model=model, base=loaded.base,
            lm=lm if python and isinstance(lm := settings.get("lm"), BaseLM) else None,
        )  # fmt: skip
    except NotExportable as e:
        raise CommandError(f"{file}: {e}") from None
    for path in made.write(to):
        typer.echo(f"wrote {path}")
