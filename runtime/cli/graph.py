"""`lampc graph`: pictures of a program, of what passes do to it, and of what its calls had in common."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lampc.runtime.cli.sources import Loaded


class Format(StrEnum):
    DOT = "dot"
    SVG = "svg"
    MERMAID = "mermaid"
    JSON = "json"
    GRAPHML = "graphml"
    HTML = "html"


def graph(
    file: Annotated[Path, typer.Argument(metavar="FILE|RUN", help="A program (.lmp, .py, .lir, .lampc) or a run.")],
    to: Annotated[
        Format | None, typer.Option("--to", help="What to write; by default as the ending of -o says.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where; standard output if left out.")] = None,
    after: Annotated[str, typer.Option("--after", metavar="PASS", help="After the standard pipeline up to PASS.")] = "",
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help="After these passes.")] = "",
    before_after: Annotated[
        str, typer.Option("--before-after", metavar="PASS,...|all", help="What these passes of the pipeline change.")
    ] = "",
    definitions: Annotated[bool, typer.Option("--definitions", help="Predictors, models and tools as boxes.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Other programs, metrics and tests of the file, too.")
    ] = False,
    counts: Annotated[Path | None, typer.Option("--counts", help="Show the counts of this run record (JSON).")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Lower for this model.")] = None,
) -> None:
    """Draw a program. The HTML page works offline: pan, zoom, close regions, click for prompts, types and counts.

    With --before-after what passes removed, merged or replaced stays as ghosts; on the HTML page one goes from pass to
    pass. The passes are those of the standard pipeline, or of the one that -p gives. Of a run's folder the prefix tree
    is drawn (html or svg): width is calls, depth is tokens, so that area is tokens, and colour says which of them were
    computed and which reused.

    \b
    Examples:
      lampc graph qa.lmp -o qa.html
      lampc graph qa.lmp --to mermaid >> README.md
      lampc graph qa.lmp --to svg --after lower-kv -o qa.svg
      lampc graph tuned.lampc --counts out/demo/report.json -o tuned.html
      lampc graph qa.lmp --before-after cse,share-prefix -o passes.html
      lampc run qa.lmp --data questions.csv --record out/qa
      lampc graph out/qa -o prefixes.html
    """
    from lampc.passes.manager import Pipeline
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.lowering import context, up_to
    from lampc.runtime.cli.sources import load, note_dynamic
    from lampc.runtime.cli.targets import keep
    from lampc.runtime.pictures import draw, picture, reachable
    from lampc.runtime.prefix_record import PREFIXES_FILE

    if after and (pipeline or before_after):
        raise CommandError("give --after or --pipeline, not both; --before-after goes with --pipeline alone")
    format = to.value if to else _by_ending(output)
    if file.is_dir() or file.name == PREFIXES_FILE:
        _write(_prefixes(file, format), output)
        return
    loaded = load(file)
    note_dynamic(loaded)
    if output is not None:
        keep(output, "--output", loaded, counts)
    functions = None if everything or not loaded.unit.entry else reachable(loaded.module, loaded.unit.entry)
    if before_after:
        if counts is not None:
            raise CommandError("--counts are of one graph: leave them out with --before-after")
        _write(_compared(loaded, before_after, pipeline, model, format, definitions, functions), output)
        return
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
    _write(draw(made, format), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8", errors="replace")
    typer.echo(f"wrote {output}", err=True)


def _compared(
    loaded: Loaded,
    names: str,
    pipeline: str,
    model: str | None,
    format: str,
    definitions: bool,
    functions: Collection[str] | None,
) -> str:
    """The picture of what passes change. Raises CommandError for passes that are not in the pipeline."""
    from lampc.passes.manager import Pipeline
    from lampc.passes.table import STANDARD
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.lowering import context
    from lampc.runtime.pictures import draw
    from lampc.runtime.pictures.compare import compare
    from lampc.runtime.pictures.page import write_steps

    whole = pipeline or STANDARD
    passes = Pipeline.parse(whole).passes
    known = [p.name for p in passes]
    wanted = set(known) if names == "all" else {name.strip() for name in names.split(",")}
    if unknown := sorted(wanted - set(known)):
        raise CommandError(f"--before-after {unknown[0]}: no such pass in the pipeline {whole}; give your own with -p")
    last = max(i for i, name in enumerate(known) if name in wanted)
    parsed, module = Pipeline(passes[: last + 1]), loaded.module.clone()
    with context(loaded, module, parsed, model) as ctx:
        steps = compare(
            module, parsed, wanted, ctx, together=format != "html", assignment=loaded.assignment,
            definitions=definitions, functions=functions,
        )  # fmt: skip
    return write_steps(module.name, steps) if format == "html" else draw(steps[0].picture, format)


def _prefixes(run: Path, format: str) -> str:
    """The prefix tree of a recorded run. Raises CommandError for a format that it is not drawn in."""
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.pictures.icicle import write_html, write_svg
    from lampc.runtime.prefix_record import read_prefixes

    if format not in ("html", "svg"):
        raise CommandError(f"the prefix tree of a run is drawn as html or svg, not as {format}")
    trees, complete = read_prefixes(run)
    name = run.resolve().name if run.is_dir() else run.resolve().parent.name
    return (write_html if format == "html" else write_svg)(name, trees, complete)


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
