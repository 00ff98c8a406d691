"""`lampc trace`: a recorded run on a time line, for Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def trace(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run: of `lampc run --record`, or an --out.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where; standard output if left out.")] = None,
) -> None:
    """Write a run as a trace that ui.perfetto.dev and chrome://tracing open (Chrome's JSON trace event format).

    It shows rows and the calls of their predictors, requests with their phases, and the steps of the engine, with
    arrows from each call to its request and to the steps that took it up and finished it; and counters: KV pages,
    batch size, tokens, waiting requests, hit rate. Of an endpoint there are requests, but no steps. Steps are in runs
    of `lampc run --record`; the folders of `lampc optimize` and `lampc demo` have jobs, rows and calls.

    \b
    Examples:
      lampc run qa.lmp --data questions.csv --record out/qa
      lampc trace out/qa -o qa.json
    """
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.targets import writable
    from lampc.runtime.events import read_events
    from lampc.runtime.pictures.chrome import write
    from lampc.runtime.pictures.timeline import timeline
    from lampc.runtime.records import EVENTS_FILE

    path = run / EVENTS_FILE if run.is_dir() else run
    if not path.is_file():
        raise CommandError(f"{path}: no such file; `lampc run FILE --record {run}` records a run there")
    if output is not None:
        writable(output, "--output")
        if output.exists() and output.samefile(path):
            raise CommandError(f"--output {output} is the record itself: give another file")
    found = timeline(read_events(path))
    if not (found.runs or found.calls):
        raise CommandError(f"{path}: there are no events of a run in it")
    text = write(found)
    if output is None:
        typer.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    told = f"{len(found.calls)} calls, {len(found.requests)} requests, {len(found.steps)} steps of engines"
    typer.echo(f"wrote {output}: {told}; open it in ui.perfetto.dev", err=True)
