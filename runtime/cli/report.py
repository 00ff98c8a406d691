"""`lampc report`: what an optimisation did, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lampc.runtime.reports import Report


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, its run.json, or a tuned .lampc.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where the page goes (.html); else into the run's folder."),
    ] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="The same as JSON there (docs/optimizing.md).")
    ] = None,
) -> None:
    """Write what an optimisation did as one HTML page that works offline, without scripts, in light and in dark.

    It shows the score over runs, tokens and time; score against tokens, with the front of the best; which rows each
    trial computed, reused or cut off; what changed in each predictor: instruction, demos, prompt; cost; and all trials
    with 95 % intervals over rows. A run that is still going, or was stopped, has a report as far as it is.

    \b
    Examples:
      lampc report out/qa
      lampc report out/qa -o qa.html --json qa.json
      lampc report qa.lampc -o qa.html
    """
    from lampc.runtime.cli.targets import replaced, writable
    from lampc.runtime.reports import read_report, write_html

    found = read_report(run)
    folder = run if run.is_dir() else run.parent
    page = output or folder / (f"{run.stem}.html" if run.suffix == ".lampc" else PAGE)
    texts = [(page, "--output", write_html(found)), *([(json_, "--json", found.json())] if json_ is not None else [])]
    for path, option, text in texts:
        writable(path, option)
        replaced(path, option, text)
    for path, _, text in texts:
        path.write_text(text, encoding="utf-8")
    typer.echo(line(found))
    typer.echo(f"report: {page}" + (f"\nas JSON: {json_}" if json_ is not None else ""))


PAGE, DATA = "report.html", "optimization.json"
"""What `lampc optimize` leaves in a run's folder."""
BEGIN = "<!doctype html>"
"""What pages begin with."""


def line(report: Report) -> str:
    """A run in one line."""
    from lampc.runtime.reports.told import gain_text

    said = f"{report.program or report.name}: {len(report.trials)} trials"
    if report.before is not None and report.after is not None:
        said += f", score {report.before:.1f} -> {report.after:.1f}"
    result = report.trial("result")
    if report.gain is not None and result is not None:
        said += f", {gain_text(report.gain, result.rows)}"
    if report.unseen is not None:
        said += f"\nunseen rows: {report.unseen}"
    return "\n".join([said, *(f"{r.change}: {r}" for r in report.gates)])
