"""`lampc optimize`: better instructions and demos, by the program's own metric."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lampc.runtime.cli.engines import Backend, TensorParallel, engine_options

if TYPE_CHECKING:
    from lampc.runtime.cli.sources import Loaded
    from lampc.runtime.optimized import OptimizeResult
    from lampc.runtime.setup import Task


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
    seed: Annotated[int, typer.Option("--seed", help="Of all random draws.")] = 0,
    backend: Backend = None,
    tensor_parallel: TensorParallel = None,
) -> None:
    """Improve a program against its metric.

    The file's `optimize` declaration says how. A file without one gets BootstrapFewShot by exact match. Every
    finished call and run is on disk at once: stop it at any time, and the same command goes on from there.

    \b
    Your own data: a CSV or JSONL table with a column for every input and for the label, and if you like a
    column `split` with train, dev and test:
      lampc optimize my.lmp --data my.csv --model /path/to/checkpoint
      lampc optimize my.lmp --data my.csv --model https://host/v1    (key in LAMPC_API_KEY or OPENAI_API_KEY)
    \b
    Before spending anything:
      lampc optimize qa.lmp --dry-run
    """
    from lampc.runtime.cli.sources import load
    from lampc.runtime.cli.targets import writable
    from lampc.runtime.setup import task_of

    loaded = load(file)
    task = task_of(loaded.unit, loaded.assignment, loaded.base, data=data, program=program, metric=metric, seed=seed)
    folder = resume or (loaded.base / task.resume if task.resume else Path("out") / file.stem)
    target = save or (loaded.base / task.save if task.save else folder / "tuned.lampc")
    if target.suffix != ".lampc":
        from lampc.runtime.cli.failure import CommandError

        raise CommandError(f"{target}: a tuned program is saved as .lampc: give a name that ends so")
    typer.echo(f"{file}: {task.about()}", err=True)
    if dry_run:
        typer.echo(task.dry_run())
        return
    writable(target, "--save" if save else "the tuned program,")
    if fresh:
        forget(folder)
    _optimize(loaded, task, folder, target, model, seed, engine_options(backend, tensor_parallel))


def forget(folder: Path) -> None:
    """Remove what earlier runs left in a run's folder, and nothing else. Raises StoreError if one is at work there."""
    from lampc.runtime.store import lock_of

    if not folder.is_dir():
        return
    lock = lock_of(folder / "journal.store")
    try:
        for name in ("journal.store", "run.json", "record.json", "events.jsonl"):
            (folder / name).unlink(missing_ok=True)
    finally:
        lock.release()


def _optimize(
    loaded: Loaded, task: Task, folder: Path, target: Path, model: str | None, seed: int, options: dict[str, Any]
) -> None:
    from lampc.runtime.driver import optimize as drive
    from lampc.runtime.prefix_record import keep_prefixes
    from lampc.runtime.progress import Progress
    from lampc.runtime.records import Recording
    from lampc.runtime.saved import diff, save
    from lampc.runtime.session import Session
    from lampc.runtime.store import Store

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
            bound = session.bound()
            kept.rows, kept.errors, kept.score = len(task.select), result.errors, result.score_after
            kept.account(session.usage, session.usage_by_node, bound=bound)
            keep_prefixes(folder, session.desk)
    save(target, loaded.unit, result.assignment, {"program": str(loaded.path.name), **facts(result)})
    if result.again:
        typer.echo(f"this run finished before (in {folder}); --fresh starts over")
    typer.echo(history(result))
    changed = diff(loaded.module, task.start, result.assignment)
    typer.echo(f"\n{changed or 'nothing better was found: the program stays as it was'}\n")
    typer.echo(summary(result, bound))
    typer.echo(f"tuned program: {target}\njournal: {folder}")
    typer.echo(f"use it: lampc run {target} --input ...")


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


def summary(result: OptimizeResult, bound: int | None) -> str:
    from lampc.runtime.cli.run import told
    from lampc.runtime.plan import beside_bound

    lines = []
    if result.score_before is not None and result.score_after is not None:
        gain = result.score_after - result.score_before
        lines.append(f"score: {result.score_before:.1f} -> {result.score_after:.1f} ({gain:+.1f})")
    lines.append(f"runs: {result.runs} distinct, {result.fresh} of them now; {told(result.usage)}")
    if bound and result.fresh == result.runs:
        beside = beside_bound(result.usage.computed_tokens, bound)
        lines.append(f"the prefix tree of all prompts needs {bound:,} prompt tokens ({beside})")
    if result.errors:
        lines.append(f"{result.errors} runs failed and scored 0 (run.json and the journal name them)")
    if result.stopped:
        lines.append(f"stopped early: the budget of {result.stopped} is spent; raise it and start again to go on")
    return "\n".join(lines)
