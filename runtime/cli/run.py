"""`lampc run`: a program on one input or on a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lampc.runtime.cli.engines import Backend, Batched, Speculative, TensorParallel, engine_options

if TYPE_CHECKING:
    from lampc.runtime.cli.sources import Loaded
    from lampc.runtime.types import Outcome, Row, Usage


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A program: .lmp, .py, .lir, .lampc.")],
    inputs: Annotated[
        list[str], typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input; @FILE takes a file's text.")
    ] = [],  # noqa: B006
    data: Annotated[Path | None, typer.Option("--data", help="Run every row of this CSV or JSONL file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write outputs there, one JSON line per row.")] = None,
    program: Annotated[
        str | None, typer.Option("--program", help="Which program of the file (default: its last).")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="firefly, a checkpoint folder, or the URL of an endpoint.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all random draws.")] = 0,
    keep_record: Annotated[
        Path | None,
        typer.Option("--record", metavar="DIR", help="Record the run there, for `lampc trace` and `lampc graph`."),
    ] = None,
    batch: Batched = False,
    speculate: Annotated[
        bool, typer.Option(help="With --input: begin a branch before it is decided, where that is likely to save time.")
    ] = True,
    backend: Backend = None,
    tensor_parallel: TensorParallel = None,
    speculative: Speculative = None,
) -> None:
    """Run a program and print its outputs as JSON.

    With --data all rows run at once, sharing prompt prefixes; outputs do not depend on that. With --out, finished
    calls are kept beside the output until all rows are done, so a run that was stopped, or in which rows failed, can be
    started again: finished calls of models and tools are not made twice.

    \b
    Examples:
      lampc run classify.lmp --input text="The tea was cold."
      lampc run qa.lmp --data questions.csv --out answers.jsonl
      lampc run qa.lmp -i question="Who?" --model http://localhost:8000/v1
      lampc run qa.lmp --data questions.csv --model path/to/checkpoint --tensor-parallel 2
      lampc run qa.lmp --data questions.csv --record out/qa
    """
    from lampc.runtime.cli.failure import CommandError, clip
    from lampc.runtime.cli.sources import entry, load, one_row, parse_inputs
    from lampc.runtime.cli.targets import keep, writable
    from lampc.runtime.records import RECORD_FILE

    loaded = load(file, program)
    func = entry(loaded, program)
    if data is not None and inputs:
        raise CommandError("give --input or --data, not both")
    if out is not None:
        keep(out, "--out", loaded, data)
    rows = table(loaded, data, program) if data is not None else [one_row(parse_inputs(inputs, func))]
    if out is not None:
        writable(out, "--out")
    if keep_record is not None:
        writable(keep_record / RECORD_FILE, "--record")
    options = engine_options(backend, tensor_parallel, speculative) | ({"batch": True} if batch else {})
    counted = data is not None or out is not None or keep_record is not None
    outcomes, usage = _run(loaded, rows, program, model, seed, out, options, keep_record, speculate, counted)
    for o in outcomes:
        refuse_objects(o, loaded)
    failed = [o.error for o in outcomes if o.error is not None]
    lines = [written(record(o, labelled=data is not None)) for o in outcomes]
    if out is not None:
        out.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        if not failed:
            _journal(out).unlink(missing_ok=True)
        typer.echo(f"wrote {out}", err=True)
    elif data is not None:
        typer.echo("\n".join(lines))
    elif not failed:
        typer.echo(written(outcomes[0].value, 1))
    for error in failed[:10]:
        typer.echo(f"error: {clip(str(error))}", err=True)
    if len(failed) > 10:
        typer.echo(f"... and {len(failed) - 10} more rows failed", err=True)
    if data is not None:
        typer.echo(f"{len(rows)} rows, {len(failed)} failed; {told(usage)}", err=True)
    if failed and out is not None:
        kept = f"{_journal(out)} keeps the finished calls: the same command makes only those that failed"
        typer.echo(f"{kept}; remove it to ask everything anew", err=True)
    if failed:
        raise typer.Exit(1)


def _run(
    loaded: Loaded,
    rows: list[Row],
    program: str | None,
    model: str | None,
    seed: int,
    out: Path | None,
    options: dict[str, Any],
    folder: Path | None,
    speculate: bool,
    counted: bool,
) -> tuple[list[Outcome], Usage]:
    from lampc.ir.adapters import bind_predictors
    from lampc.runtime.cli.failure import on_interrupt
    from lampc.runtime.experience import remember
    from lampc.runtime.progress import Progress
    from lampc.runtime.recorded import recorded
    from lampc.runtime.session import Session
    from lampc.runtime.store import Store
    from lampc.runtime.tool_journal import told_unkept
    from lampc.runtime.types import Cell

    done, unkept = 0, set[str]()

    def again() -> str:
        kept = f"{_journal(out)} keeps the finished calls" if out is not None else ""
        repeated = told_unkept(unkept)
        return f"{done} of {len(rows)} rows were done; {kept}; the same command goes on from there{repeated}"

    if out is not None:
        on_interrupt(again)
    elif len(rows) > 1:
        on_interrupt(lambda: f"{done} of {len(rows)} rows were done; with --out FILE a stopped run can go on")
    with (
        Store(_journal(out) if out is not None else None) as store,
        Session(
            model=model, base=loaded.base, store=store, seed=seed, model_options=options, speculate=speculate
        ) as session,
        Progress(session.bus) as progress,
        recorded(
            folder, session.desk, usage=lambda: session.usage, program=loaded.path.name, model=model or "", seed=seed
        ) as kept,
    ):

        def finished(index: int, outcome: Outcome) -> None:
            nonlocal done
            done += 1
            if len(rows) > 1:
                progress.show("run", done, len(rows))

        session.unkept_tools = unkept
        cells = [Cell(r, loaded.assignment) for r in rows]
        outcomes = session.run_cells(loaded.unit, cells, program, finished)
        if counted:
            session.settle()
        remember(session, loaded.module, bind_predictors(loaded.module, loaded.assignment), outcomes)
        if kept is not None:
            kept.rows, kept.errors = len(rows), sum(o.error is not None for o in outcomes)
        return outcomes, session.usage


def _journal(out: Path) -> Path:
    return out.with_name(out.name + ".journal")


def table(loaded: Loaded, path: Path, program: str | None) -> list[Row]:
    """The rows of a file for a program: columns with the names of its inputs, others kept as labels.

    Raises DataError.
    """
    from lampc.ir import Field
    from lampc.ir.types import ANY, STR
    from lampc.ir.unit import Dataset
    from lampc.runtime.data import interface, load_dataset, read_table

    kind = "jsonl" if path.suffix.lower() in (".jsonl", ".ndjson", ".json") else "csv"
    _, header = read_table(path, kind)
    dynamic = loaded.unit.dynamic is not None
    params, outputs = interface(loaded.module, None if dynamic else (program or loaded.unit.entry or None))
    known = {**dict(outputs.fields), **dict(params.fields)}
    names = [*header, *(n for n in params.names() if n not in header)]
    columns = tuple(Field(n, known.get(n, STR if kind == "csv" else ANY)) for n in names)
    wanted = list(params.names()) if params.fields else list(header)
    splits = load_dataset(Dataset(path.stem, columns, kind, str(path.absolute())), inputs=wanted)
    return [row for rows in splits.values() for row in rows]


def refuse_objects(outcome: Outcome, loaded: Loaded) -> None:
    """A row whose outputs hold Python objects has failed: there is no JSON for them."""
    from lampc.runtime.failures import unwritable_output
    from lampc.runtime.types import RowError

    why = unwritable_output(outcome.value or {}, objects=True)
    if why:
        place = getattr(loaded.unit.host_entry, "__lampc_place__", str(loaded.path))
        outcome.value, outcome.error = None, RowError(why, place, outcome.cell.row.id, "value")


def record(outcome: Outcome, *, labelled: bool) -> dict[str, Any]:
    """What is written for a row."""
    row = outcome.cell.row
    head: dict[str, Any] = {"row": row.id} if labelled else {}
    if outcome.error is not None:
        return {**head, "error": outcome.error.message, "where": outcome.error.where}
    return {**head, **(outcome.value or {})}


def written(value: Any, indent: int | None = None) -> str:
    """A value as JSON, readable where it can be: text that is no UTF-8 (a program may make it) is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def told(usage: Usage) -> str:
    """Usage in one line."""
    parts = [f"{usage.calls} calls"]
    if usage.stored_calls:
        parts.append(f"{usage.stored_calls} of them known before")
    known = f" ({usage.stored_tokens:,} of the known calls)" if usage.stored_tokens else ""
    parts.append(f"{usage.prompt_tokens:,} prompt tokens{known}")
    fresh = usage.computed_tokens + usage.cached_tokens
    if fresh:
        parts.append(f"{usage.computed_tokens:,} computed ({100 * usage.cached_tokens / fresh:.1f} % reused)")
    parts.append(f"{usage.generated_tokens:,} generated, {usage.seconds:.1f} s")
    if usage.cost:
        parts.append(f"cost {usage.cost:,.4f}")
    return ", ".join(parts)
