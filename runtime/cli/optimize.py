"""`lampc optimize`: better instructions and demos, by the program's own metric."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lampc.runtime.cli.engines import Backend, Batched, TensorParallel, engine_options, price_option
from lampc.runtime.cli.report import BEGIN, PAGE

if TYPE_CHECKING:
    from lampc.runtime.cli.sources import Loaded
    from lampc.runtime.optimized import OptimizeResult
    from lampc.runtime.reports.unseen import Unseen
    from lampc.runtime.session import Session
    from lampc.runtime.setup import Task
    from lampc.runtime.types import Row


def optimize(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A program: .lmp, .py, .lampc.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Your own table (CSV or JSONL) in place of its data.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="firefly, a checkpoint folder, or the URL of an endpoint.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost; spend nothing.")] = False,
    save: Annotated[Path | None, typer.Option("--save", help="Where the tuned program goes (.lampc).")] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="The run's folder: what is finished stands there.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what an earlier run finished.")] = False,
    program: Annotated[
        str | None, typer.Option("--program", help="Which program, if the file optimises several.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="In place of the declared one (exact_match, f1, m:f).")
    ] = None,
    optimizer: Annotated[
        list[str], typer.Option("--optimizer", metavar="NAME", help="In place of the declared ones; several in turn.")
    ] = [],  # noqa: B006
    option: Annotated[
        list[str],
        typer.Option("--option", "-o", metavar="[NAME.]KEY=VALUE", help="An option of an optimizer; @FILE: its lines."),
    ] = [],  # noqa: B006
    trials: Annotated[int | None, typer.Option("--trials", help="How many candidates the optimizer tries.")] = None,
    budget: Annotated[
        list[str], typer.Option("--budget", metavar="calls=10k,tokens=2M,time=15m,money=1.5", help="Spend no more.")
    ] = [],  # noqa: B006
    price: Annotated[
        str, typer.Option("--price", help="Of the models, per million tokens: PROMPT,ANSWER or PROMPT,ANSWER,CACHED.")
    ] = "",
    report: Annotated[
        Path | None, typer.Option("--report", help="Where the report goes (.html); else into the run's folder.")
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.")] = False,
    test: Annotated[
        bool, typer.Option("--test", help="At the end, score the program as found and the tuned one on the test rows.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of all random draws.")] = 0,
    batch: Batched = False,
    backend: Backend = None,
    tensor_parallel: TensorParallel = None,
) -> None:
    """Improve a program against its metric.

    The file's `optimize` declaration says how, or --optimizer does. A file without one gets BootstrapFewShot by exact
    match. Candidates are made on the training rows and chosen on the select rows; test rows are sent at the end, for
    --test alone. Every finished call and run is on disk at once: stop it at any time, and the same command goes on from
    there. At the end stand a tuned program (--save) and a page that shows what was tried and what it cost (--report).

    \b
    As declared, and before spending anything:
      lampc optimize qa.lmp --dry-run
      lampc optimize qa.lmp
    \b
    With another optimizer (`lampc explain mipro` lists its options; `lampc optimize qa.lmp --optimizer ?` lists all):
      lampc optimize qa.lmp --optimizer mipro -o auto=light -o seed=3
      lampc optimize qa.lmp --optimizer bootstrap --optimizer instructions -o pool=@pool.txt
      lampc optimize qa.lmp --optimizer random_search --trials 24 --budget tokens=2M,time=15m
    \b
    Your own data: a CSV or JSONL table with a column for every input and for the label, and if you like a
    column `split` with train, dev and test:
      lampc optimize my.lmp --data my.csv --model /path/to/checkpoint
      lampc optimize my.lmp --data my.csv --model https://host/v1    (key in LAMPC_API_KEY or OPENAI_API_KEY)
    \b
    What it is worth on rows that nothing was chosen by, now or once it is done:
      lampc optimize qa.lmp --test
    \b
    Afterwards, or while it runs:
      lampc report out/qa
      lampc diff qa.lmp out/qa/tuned.lampc
    """
    from lampc.runtime.cli.sources import load
    from lampc.runtime.cli.targets import replaced, writable
    from lampc.runtime.unseen import SPLIT, unseen_rows

    if "?" in optimizer:
        from lampc.runtime.cli.steps import listing

        typer.echo(listing())
        return
    loaded = load(file, program)
    task = _task(loaded, data, program, metric, seed, (optimizer, option, trials), budget)
    folder = resume or (loaded.base / task.resume if task.resume else Path("out") / file.stem)
    target = save or (loaded.base / task.save if task.save else folder / "tuned.lampc")
    if target.suffix != ".lampc":
        from lampc.runtime.cli.failure import CommandError

        raise CommandError(f"{target}: a tuned program is saved as .lampc: give a name that ends so")
    unseen = unseen_rows(task)
    if test and not unseen:
        from lampc.runtime.cli.failure import CommandError

        raise CommandError(f"--test: {file} has no rows of a split `{SPLIT}` that were not trained or chosen on")
    typer.echo(f"{file}: {task.about()}", err=True)
    if dry_run:
        from lampc.runtime.session import Session

        options = engine_options(backend, tensor_parallel)
        with Session(model=model, base=loaded.base, seed=seed, model_options=options) as session:
            typer.echo(task.dry_run(session))
        if test:
            typer.echo(f"--test: {2 * len(unseen)} runs more, of both programs on {len(unseen)} rows of {SPLIT}")
        return
    writable(target, "--save" if save else "the tuned program,")
    page = None if no_report else report or folder / PAGE
    if page is not None:
        writable(page, "--report" if report else "the report,")
        replaced(page, "--report" if report else "the report,", BEGIN)
    if fresh:
        forget(folder)
    options = engine_options(backend, tensor_parallel) | ({"batch": True} if batch else {})
    cost = price_option(price)
    options |= {} if cost is None else {"price": cost}
    _optimize(loaded, task, folder, target, model, seed, options, test)
    if page is not None:
        _report(folder, page)


def _task(
    loaded: Loaded,
    data: Path | None,
    program: str | None,
    metric: str | None,
    seed: int,
    wanted: tuple[list[str], list[str], int | None],
    budget: list[str],
) -> Task:
    """The declared task with what the command line says otherwise. Raises CommandError."""
    from dataclasses import replace

    from lampc.passes.optimize import optimizers
    from lampc.runtime.cli.steps import budget_of, steps_of
    from lampc.runtime.setup import DEFAULT_STEPS, declared_of, task_of

    task = task_of(loaded.unit, loaded.assignment, loaded.base, data=data, program=program, metric=metric, seed=seed)
    names, options, trials = wanted
    if names or options or trials is not None:
        declared = declared_of(loaded.unit, program)
        said = declared.steps if declared else DEFAULT_STEPS
        steps = steps_of([(n, dict(args)) for n, args in said], names, options, trials)
        task = replace(task, steps=optimizers(steps, loaded.base))
    return replace(task, budget=budget_of(task.budget, budget))


def _report(folder: Path, page: Path) -> None:
    from lampc.runtime.cli.report import DATA
    from lampc.runtime.reports import read_report, write_html

    found = read_report(folder)
    page.write_text(write_html(found), encoding="utf-8")
    (folder / DATA).write_text(found.json(), encoding="utf-8")
    typer.echo(f"report: {page} (as JSON: {folder / DATA})")


def forget(folder: Path) -> None:
    """Remove what earlier runs left in a run's folder, and nothing else. Raises StoreError if one is at work there."""
    from lampc.runtime.journal import FOUND_FILE
    from lampc.runtime.reports.unseen import UNSEEN_FILE
    from lampc.runtime.store import lock_of

    if not folder.is_dir():
        return
    lock = lock_of(folder / "journal.store")
    try:
        for name in ("journal.store", "run.json", "record.json", "events.jsonl", FOUND_FILE, UNSEEN_FILE):
            (folder / name).unlink(missing_ok=True)
    finally:
        lock.release()


def _optimize(
    loaded: Loaded,
    task: Task,
    folder: Path,
    target: Path,
    model: str | None,
    seed: int,
    options: dict[str, Any],
    test: bool,
) -> None:
    from lampc.runtime.driver import optimize as drive
    from lampc.runtime.prefix_record import keep_prefixes
    from lampc.runtime.progress import Progress
    from lampc.runtime.records import Recording
    from lampc.runtime.reports.changes import compare
    from lampc.runtime.reports.read import read_run
    from lampc.runtime.reports.told import changes_text
    from lampc.runtime.reports.unseen import read_unseen
    from lampc.runtime.saved import save, with_gates
    from lampc.runtime.session import Session
    from lampc.runtime.store import Store
    from lampc.runtime.unseen import unseen_rows

    rows = unseen_rows(task)
    with (
        Store(folder / "journal.store") as store,
        Session(model=model, base=loaded.base, store=store, seed=seed, model_options=options) as session,
    ):
        if store.recovered:
            typer.echo(f"{store.path}: {store.recovered} damaged records were left out", err=True)
        known = store.count("job")
        if known:
            typer.echo(f"{folder}: going on from {known} finished runs", err=True)
        with (
            Progress(session.bus),
            Recording(folder, folder.name, session.bus, program=loaded.path.name, model=model or "", seed=seed) as kept,
        ):
            try:
                result = drive(
                    loaded.unit,
                    session,
                    steps=task.steps,
                    train=task.train,
                    select=task.select,
                    metric=task.metric,
                    program=task.program,
                    start=task.start,
                    budget=task.budget,
                    record=folder / "run.json",
                )
                where = os.path.relpath(folder.resolve(), target.parent.resolve())
                info = with_gates({"program": loaded.path.name, "run": where, **facts(result)}, result.gates)
                save(target, loaded.unit, result.assignment, info)
                if test:
                    _test(task, rows, result, session, folder)
            finally:
                kept.account(session.usage, session.usage_by_node)
            bound = session.bound()
            kept.rows, kept.errors, kept.score = len(task.select), result.errors, result.score_after
            kept.account(session.usage, session.usage_by_node, bound=bound)
            keep_prefixes(folder, session.desk)
    if result.again:
        typer.echo(f"this run finished before (in {folder}); --fresh starts over")
    typer.echo(history(result))
    changed = changes_text(
        compare(loaded.module, task.start, result.assignment, prompts=False), color=sys.stdout.isatty()
    )
    typer.echo(f"\n{changed or 'nothing better was found: the program stays as it was'}\n")
    typer.echo(summary(result, bound, read_unseen(folder, read_run(folder)[0]), len(rows)))
    typer.echo(f"tuned program: {target}\njournal: {folder}")
    typer.echo(f"use it: lampc run {target} --input ...")


def _test(task: Task, rows: list[Row], result: OptimizeResult, session: Session, folder: Path) -> None:
    """Score both programs on rows that were set aside, and keep that in the run's folder."""
    from lampc.runtime.reports.read import read_run
    from lampc.runtime.unseen import SPLIT, score_unseen

    try:
        score_unseen(task, rows, result.assignment, session, str(read_run(folder)[0]["run"])).write(folder)
    except KeyboardInterrupt:
        said = f"stopped while the rows of {SPLIT} were scored; the search is over, its program saved"
        raise KeyboardInterrupt(f"{said}: the same command goes on from here") from None


def facts(result: OptimizeResult) -> dict[str, object]:
    """What is kept with the tuned program."""
    return {"score_before": result.score_before, "score_after": result.score_after, "runs": result.runs}


def history(result: OptimizeResult) -> str:
    """What was tried, with scores; the chosen candidate is marked."""
    lines = []
    for c in result.history:
        mark = "*" if c.assignment == result.assignment else " "
        score = f"{c.score:6.1f}" if c.score is not None else "     -"
        lines.append(f"{mark} {score}  {c.step:<14} {c.note[:90]}")
    return "\n".join(lines)


def summary(result: OptimizeResult, bound: int | None, unseen: Unseen | None = None, rows: int = 0) -> str:
    """What came of it, in lines. `rows` are set aside; `unseen` is what came of them, if they were asked."""
    from lampc.runtime.cli.run import told
    from lampc.runtime.plan import beside_bound

    lines = []
    if result.score_before is not None and result.score_after is not None:
        gain = result.score_after - result.score_before
        lines.append(f"score: {result.score_before:.1f} -> {result.score_after:.1f} ({gain:+.1f})")
        tried = sum(c.score is not None for c in result.history)
        if unseen is None and tried > 1 and gain > 0:
            more = f"; --test scores both on the {rows} rows that were set aside" if rows else ""
            lines.append(f"that is the best of {tried} on the rows it was chosen by: expect less on others{more}")
    if unseen is not None:
        lines.append(f"unseen rows: {unseen}")
    wanted = f" of {result.wanted} wanted" if result.wanted > result.runs else ""
    lines.append(f"runs: {result.runs} distinct{wanted}, {result.fresh} of them now; {told(result.usage)}")
    if bound and result.fresh == result.runs:
        beside = beside_bound(result.usage.computed_tokens, bound)
        lines.append(f"the prefix tree of all prompts needs {bound:,} prompt tokens ({beside})")
    if result.errors:
        lines.append(f"{result.errors} runs failed and scored 0 (run.json and the journal name them)")
    if result.stopped:
        lines.append(f"stopped early: the budget of {result.stopped} is spent; raise it and start again to go on")
    return "\n".join(lines)
