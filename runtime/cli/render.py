"""`lampc render`: exactly what a predictor sends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lampc.ir import Target
    from lampc.ir.adapters import Bound
    from lampc.runtime.cli.sources import Loaded
    from lampc.runtime.reports.rendered import Turns


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A program: .lmp, .py, .lir, .lampc.")],
    predictor: Annotated[str, typer.Argument(metavar="PREDICTOR", help="Which of its predictors.")],
    inputs: Annotated[
        list[str], typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input of the predictor.")
    ] = [],  # noqa: B006
    row: Annotated[int | None, typer.Option("--row", help="Inputs from this row (from 1) of the data.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="The data for --row; else the program's own.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show the token ids, too.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Of this model's chat template and tokens.")] = None,
) -> None:
    """Show exactly what a predictor sends.

    That is: the messages, their token count, and which prefix other rows share with them. Inputs that are
    not given stand as {name}. Of a call that goes on from another one (@continue) it is what stands behind that
    call's prompt and answer.

    \b
    Examples:
      lampc render qa.lmp ask
      lampc render qa.lmp ask --input question="Who wrote it?" --tokens
      lampc render tuned.lampc ask --row 3 --data questions.csv
    """
    from lampc.ir.adapters import bind_predictors
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.sources import load
    from lampc.runtime.reports.rendered import added, continued, messages
    from lampc.runtime.session import Session

    loaded = load(file)
    bound = bind_predictors(loaded.module, loaded.assignment)
    if predictor not in bound:
        known = ", ".join(bound) or "none"
        raise CommandError(f"{file}: there is no predictor `{predictor}`; predictors here: {known}")
    chosen = bound[predictor]
    if row is not None and inputs:
        raise CommandError("give --input or --row, not both")
    values, others = _row(loaded, chosen, row, data) if row is not None else (_given(chosen, inputs), [])
    before, alone = continued(loaded.module, predictor)
    if tokens and not alone:
        raise CommandError(
            f"--tokens: `{predictor}` goes on from {' or '.join(before)}, so its token ids hang on the prompt and the "
            "answer of that call; leave --tokens out"
        )
    with Session(model=model, base=loaded.base) as session:
        target = session.target(loaded.module, chosen.model)
        if before:
            also = "also " if alone else ""
            typer.echo(f"--- {also}goes on from {' or '.join(before)}: behind its prompt and the model's answer stands")
            _show(added(chosen, values, target.quote))
        if not alone:
            return
        if before:
            typer.echo("--- where it goes on from no other call")
        turns = messages(chosen, values, target.quote)
        _show(turns)
        if not target.local or target.tokens is None:
            typer.echo(f"--- sent to {target.info.name} as messages; its tokens are not known here", err=True)
            return
        ids = tuple(target.tokens.encode(target.render_chat(turns)))
        _count(
            ids, [messages(chosen, o, target.quote) for o in others or [_varied(chosen, values)]], target, bool(others)
        )
        if tokens:
            _list(ids, target)


def _show(turns: Turns) -> None:
    for role, text in turns:
        typer.echo(f"--- {role}\n{text}")


def _given(bound: Bound, texts: list[str]) -> dict[str, Any]:
    from lampc.ir.types import spelled
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.sources import named_texts, parse_value
    from lampc.runtime.reports.rendered import unknown_inputs

    out = unknown_inputs(bound)
    types = {f.name: f.type for f in bound.signature.inputs}
    for name, value in named_texts(texts).items():
        if name not in types:
            known = ", ".join(f"{n}: {spelled(t)}" for n, t in types.items())
            raise CommandError(f"--input {name}: `{bound.name}` has no such input; its inputs: {known}")
        out[name] = parse_value(name, value, types[name])
    return out


def _row(loaded: Loaded, bound: Bound, number: int, data: Path | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Inputs of a row of the data, and those of the other rows."""
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.run import table
    from lampc.runtime.data import load_dataset

    if data is not None:
        rows = table(loaded, data, None)
    elif loaded.unit.datasets:
        first = next(iter(loaded.unit.datasets.values()))
        rows = [r for split in load_dataset(first, loaded.base).values() for r in split]
    else:
        raise CommandError(f"{loaded.path}: the program declares no dataset; give --data FILE")
    names = [f.name for f in bound.signature.inputs]
    known = [{**r.inputs, **r.labels} for r in rows]
    missing = [n for n in names if n not in known[0]]
    if missing:
        by_hand = " ".join(f"--input {n}=..." for n in names)
        raise CommandError(
            f"--row {number}: input `{missing[0]}` of `{bound.name}` is no column of the data (columns: "
            f"{', '.join(known[0])}), so no row gives it; give inputs by hand in place of --row: {by_hand}"
        )
    values = {int(r.id): {n: v[n] for n in names} for r, v in zip(rows, known, strict=True)}
    if number not in values:
        raise CommandError(f"--row {number}: the data have rows 1 to {max(values)}")
    return values.pop(number), list(values.values())


def _varied(bound: Bound, values: dict[str, Any]) -> dict[str, Any]:
    """Other values for every input, so that what does not change is the prefix that any row shares."""
    out: dict[str, Any] = {}
    for f in bound.signature.inputs:
        text = str(values[f.name])
        out[f.name] = "~" if not text.startswith("~") else "#"
    return out


def _count(ids: tuple[int, ...], others: list[Turns], target: Target, rows: bool) -> None:
    from lampc.passes.schedule.block_tree import common_prefix

    assert target.tokens is not None
    shared = max(common_prefix(ids, tuple(target.tokens.encode(target.render_chat(o)))) for o in others)
    what = "of the other rows' prompts, the nearest shares" if rows else "any other row shares"
    share = f" ({100 * shared / len(ids):.0f} %)" if ids else ""
    typer.echo(f"--- {len(ids)} prompt tokens for {target.info.name}; {what} the first {shared}{share}", err=True)
    if shared < len(ids):
        tail = target.tokens.decode(ids[max(0, shared - 12) : shared])
        typer.echo(f"    the shared prefix ends in {tail!r}", err=True)
    if len(ids) > target.info.context_length:
        typer.echo(f"    that is more than the model's context of {target.info.context_length}", err=True)


def _list(ids: tuple[int, ...], target: Target) -> None:
    assert target.tokens is not None
    for at in range(0, len(ids), 8):
        piece = ids[at : at + 8]
        shown = " ".join(f"{i}" for i in piece)
        typer.echo(f"{at:6}  {shown:<48}  {target.tokens.decode(piece)!r}")
