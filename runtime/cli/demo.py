"""`lampc demo`: the main job, shown step by step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lampc.runtime.cli.sources import Loaded
    from lampc.runtime.demo import DemoRun
    from lampc.runtime.session import Session
    from lampc.runtime.setup import Task

EXAMPLE = Path("examples/01_classify.lmp")


def demo(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="A program with an `optimize` declaration.")] = EXAMPLE,
    out: Annotated[Path, typer.Option("--out", help="Where journal, report, tuned program and page go.")] = Path(
        "out/demo"
    ),
    model: Annotated[
        str | None, typer.Option("--model", help="firefly, a checkpoint folder, or the URL of an endpoint.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all random draws.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over (FRESH=1 does the same).")] = False,
) -> None:
    """Optimise an example and show what that gained and cost.

    It runs on the bundled model: nothing is downloaded. Stop it at any time, even by force: started again,
    it goes on from what was finished.

    \b
    Examples:
      lampc demo
      FRESH=1 lampc demo
    """
    from lampc.runtime.cli.failure import CommandError, on_interrupt
    from lampc.runtime.cli.optimize import forget
    from lampc.runtime.cli.sources import load
    from lampc.runtime.demo import run_demo
    from lampc.runtime.prefix_record import keep_prefixes
    from lampc.runtime.progress import Progress
    from lampc.runtime.records import Recording
    from lampc.runtime.session import Session
    from lampc.runtime.setup import task_of
    from lampc.runtime.store import Store

    if not file.is_file():
        raise CommandError(f"{file}: no such file; run this in a checkout, or name a program of your own")
    loaded = load(file)
    task = task_of(loaded.unit, loaded.assignment, loaded.base, seed=0)
    if fresh or os.environ.get("FRESH", "") not in ("", "0"):
        forget(out)
        (out / "report.json").unlink(missing_ok=True)
    on_interrupt(lambda: f"what is finished is kept in {out}; the same command goes on from there")
    _heading(f"The program: {file}")
    typer.echo(loaded.path.read_text(encoding="utf-8").strip())
    typer.echo(f"\n{task.about()}\nrows: {', '.join(f'{n} {len(r)}' for n, r in task.splits.items())}")
    with (
        Store(out / "journal.store") as store,
        Session(model=model, base=loaded.base, store=store, seed=seed) as session,
    ):
        if (out / "report.json").is_file() and _finished(out):
            typer.echo(f"\nThis demo finished before; its journal is in {out}. FRESH=1 starts over.")
            typer.echo((out / "report.json").read_text(encoding="utf-8").strip())
            return
        with (
            Progress(session.bus) as progress,
            Recording(out, out.name, session.bus, program=file.name, model=model or "", seed=seed) as kept,
        ):
            if store.count("job"):
                progress.say(f"{out}: going on from {store.count('job')} finished runs")
            run = run_demo(
                task, loaded.base, out, model=model, seed=seed, session=session,
                stage=lambda name: progress.say(f"-- {_STAGES[name]}"),
            )  # fmt: skip
            kept.score = run.result.score_after
            kept.account(session.usage, session.usage_by_node, bound=session.bound())
            keep_prefixes(out, session.desk)
        _show(loaded, task, run)
        _files(loaded, run, out)
        _ask(loaded, task, run, session)


_STAGES = {
    "optimise": "Optimising on train and dev",
    "unseen rows": "Scoring on test, which the optimiser never saw, and random demos beside it",
    "row by row": "The same tuned program, all rows together and row by row without sharing",
}


def _heading(text: str) -> None:
    typer.echo(f"\n=== {text}\n")


def _finished(out: Path) -> bool:
    import json

    try:
        state = json.loads((out / "run.json").read_text(encoding="utf-8"))["state"]
    except (OSError, ValueError, KeyError):
        return False
    return bool(state == "finished")


def _show(loaded: Loaded, task: Task, run: DemoRun) -> None:
    from lampc.runtime.cli.explain import columns
    from lampc.runtime.cli.optimize import history
    from lampc.runtime.plan import beside_bound
    from lampc.runtime.reports.changes import compare
    from lampc.runtime.reports.told import changes_text
    from lampc.runtime.saved import ir_diff

    _heading("What was tried (score on dev)")
    typer.echo(history(run.result))
    _heading("What changed, as text")
    typer.echo(changes_text(compare(loaded.module, task.start, run.result.assignment, prompts=False)))
    _heading("What changed, as IR")
    typer.echo(ir_diff(loaded.module, task.start, run.result.assignment))
    r = run.report
    _heading("Scores")
    table = [
        ["", "before", "random demos", "after"],
        ["dev", f"{r.dev_before:.1f}", f"{r.dev_random_demos:.1f}", f"{r.dev_after:.1f}"],
        ["test (never seen)", f"{r.test_before:.1f}", f"{r.test_random_demos:.1f}", f"{r.test_after:.1f}"],
    ]
    typer.echo(columns(table, rule=False))
    typer.echo(f"(random demos: {run.random_count} rows, with the program as found; mean of {len(run.random)} draws)")
    _heading("Cost of the run")
    typer.echo(
        f"{r.calls:,} calls in {r.seconds:.1f} s{' (resumed: the time is that of this part)' if run.resumed else ''}"
    )
    known = f", {r.prompt_tokens_stored:,} of calls that the journal answered" if r.prompt_tokens_stored else ""
    typer.echo(
        f"prompt tokens: {r.prompt_tokens:,} asked for; {r.prompt_tokens_computed:,} computed, "
        f"{r.prompt_tokens_reused:,} reused ({100 * r.reused:.1f} %){known}"
    )
    if r.prompt_tokens_bound:
        beside = beside_bound(r.prompt_tokens_computed, r.prompt_tokens_bound)
        typer.echo(f"the prefix tree of all these prompts needs {r.prompt_tokens_bound:,} ({beside})")
    typer.echo("")
    typer.echo(columns(_together(run), rule=False))
    assert run.shared is not None
    assert run.naive is not None
    same = "the same" if run.shared.answers == run.naive.answers else "NOT THE SAME"
    typer.echo(f"(the tuned program on {len(run.after.test)} test rows; the answers are {same})")


def _together(run: DemoRun) -> list[list[str]]:
    r = run.report
    ratio = r.prompt_tokens_naive / r.prompt_tokens_shared if r.prompt_tokens_shared else 0.0
    faster = r.seconds_naive / r.seconds_shared if r.seconds_shared else 0.0
    return [
        ["", "prompt tokens computed", "seconds"],
        ["row by row, no sharing", f"{r.prompt_tokens_naive:,}", f"{r.seconds_naive:.2f}"],
        ["all rows together", f"{r.prompt_tokens_shared:,}", f"{r.seconds_shared:.2f}"],
        ["ratio", f"{ratio:.1f}x", f"{faster:.1f}x"],
    ]


def _files(loaded: Loaded, run: DemoRun, out: Path) -> None:
    from dataclasses import asdict

    from lampc.runtime.cli.report import PAGE
    from lampc.runtime.pictures import draw, picture
    from lampc.runtime.pictures.icicle import write_html
    from lampc.runtime.prefix_record import PREFIXES_FILE, read_prefixes
    from lampc.runtime.reports import read_report
    from lampc.runtime.reports.page import write_html as write_report

    assert run.shared is not None
    counts = {name: {k: v for k, v in asdict(u).items() if v} for name, u in run.shared.nodes.items()}
    made = picture(loaded.module, assignment=run.result.assignment, counts=counts)
    (out / "graph.html").write_text(draw(made, "html"), encoding="utf-8")
    (out / PAGE).write_text(write_report(read_report(out)), encoding="utf-8")
    if (out / PREFIXES_FILE).is_file():
        (out / "prefixes.html").write_text(write_html(out.name, *read_prefixes(out)), encoding="utf-8")
    _heading("Files")
    typer.echo(f"tuned program  {out / 'tuned.lampc'}")
    typer.echo(f"journal        {out / 'journal.store'} (readable: {out / 'run.json'})")
    typer.echo(f"figures        {out / 'report.json'}")
    typer.echo(f"report         {out / PAGE} (what was tried, what changed, what it cost)")
    typer.echo(f"graph page     {out / 'graph.html'}")
    if (out / PREFIXES_FILE).is_file():
        typer.echo(f"prefix tree    {out / 'prefixes.html'} (of this part of the run)")


def _ask(loaded: Loaded, task: Task, run: DemoRun, session: Session) -> None:
    import json

    from lampc.runtime.demo import new_input
    from lampc.runtime.types import Row

    row = Row("new", new_input(task).inputs)
    (outcome,) = session.run(loaded.unit, [row], entry=task.program, assignment=run.result.assignment)
    _heading("One input that the optimiser never saw")
    typer.echo(f"{json.dumps(row.inputs, ensure_ascii=False)}\n-> {json.dumps(outcome.value, ensure_ascii=False)}")
    if outcome.error is not None:
        typer.echo(f"failed: {outcome.error}")
