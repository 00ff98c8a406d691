"""`lampc graph`: pictures of a program."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    DOT = "dot"
    SVG = "svg"
    MERMAID = "mermaid"
    JSON = "json"
    GRAPHML = "graphml"
    HTML = "html"


def graph(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A program: .lmp, .py, .lir, .lampc.")],
    to: Annotated[
        Format | None, typer.Option("--to", help="What to write; by default as the ending of -o says.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where; standard output if left out.")] = None,
    after: Annotated[str, typer.Option("--after", metavar="PASS", help="After the standard pipeline up to PASS.")] = "",
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help="After these passes.")] = "",
    definitions: Annotated[bool, typer.Option("--definitions", help="Predictors, models and tools as boxes.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Other programs, metrics and tests of the file, too.")
    ] = False,
    counts: Annotated[Path | None, typer.Option("--counts", help="Show the counts of this run record (JSON).")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Lower for this model.")] = None,
) -> None:
    """Draw a program. The HTML page works offline: pan, zoom, close regions, click for prompts, types and counts.

    \b
    Examples:
      lampc graph qa.lmp -o qa.html
      lampc graph qa.lmp --to mermaid >> README.md
      lampc graph qa.lmp --to svg --after lower-kv -o qa.svg
      lampc graph tuned.lampc --counts out/demo/report.json -o tuned.html
    """
    from lampc.passes.manager import Pipeline
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.lowering import context, up_to
    from lampc.runtime.cli.sources import load, note_dynamic
    from lampc.runtime.cli.targets import keep
    from lampc.runtime.pictures import draw, picture, reachable

    if after and pipeline:
        raise CommandError("give --after or --pipeline, not both")
    format = to.value if to else _by_ending(output)
    loaded = load(file)
    note_dynamic(loaded)
    if output is not None:
        keep(output, "--output", loaded, counts)
    module = loaded.module
    passes = up_to(after) if after else pipeline
    if passes:
        module = module.clone()
        parsed = Pipeline.parse(passes)
        with context(loaded, module, parsed, model) as ctx:
            parsed.run(module, ctx)
    made = picture(
        module,
        assignment=loaded.assignment,
        counts=read_counts(counts) if counts else None,
        definitions=definitions,
        functions=None if everything or not loaded.unit.entry else reachable(module, loaded.unit.entry),
    )
    text = draw(made, format)
    if output is None:
        typer.echo(text, nl=False)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {output}", err=True)


def _by_ending(output: Path | None) -> str:
    from lampc.runtime.cli.failure import CommandError

    ending = output.suffix.lstrip(".") if output else ""
    known = {"mmd": "mermaid", "gv": "dot", "htm": "html", **{f.value: f.value for f in Format}}
    if ending not in known:
        raise CommandError(f"say --to {'|'.join(Format)}, or give -o a file that ends so")
    return known[ending]


def read_counts(path: Path) -> dict[str, dict[str, object]]:
    """Counts by predictor out of a run record: its `nodes`, else the whole file. Raises CommandError."""
    import json

    from lampc.runtime.cli.failure import CommandError

    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise CommandError(f"{path}: not JSON: {e}") from None
    nodes = record.get("nodes", record) if isinstance(record, dict) else None
    if not isinstance(nodes, dict) or not all(isinstance(v, dict) for v in nodes.values()):
        raise CommandError(f"{path}: no counts by predictor (an object of objects, or one under `nodes`)")
    return nodes
