"""`lampc layout`: another order of the blocks in prompts, where that saves tokens and loses no score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lampc.runtime.cli.engines import Backend, TensorParallel, engine_options

if TYPE_CHECKING:
    from lampc.passes.gate import Gate
    from lampc.runtime.arrange import Arrangement
    from lampc.runtime.cli.sources import Loaded
    from lampc.runtime.session import Session
    from lampc.runtime.setup import Task


def layout(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A program: .lmp, .py, .lir, .lampc.")],
    data: Annotated[Path | None, typer.Option("--data", help="A table of your own, in place of the declared.")] = None,
    program: Annotated[str | None, typer.Option("--program", help="Which program of the file.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="In place of the declared one.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Run on this model.")] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Where the program goes (.lampc).")] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Training rows that orders are tried on.")] = 40,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Count tokens for so many candidates.")] = 1,
    demos: Annotated[int, typer.Option("--demos", min=0, help="Demos of each of these candidates.")] = 4,
    worth: Annotated[float, typer.Option("--worth", help="Least share of prompt tokens that must be saved.")] = 0.1,
    least: Annotated[
        float, typer.Option("--least", help="Least lower bound of the score's change; scores are 0 to 1.")
    ] = -0.01,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count tokens only; test and save nothing.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of all random draws.")] = 0,
    backend: Backend = None,
    tensor_parallel: TensorParallel = None,
) -> None:
    """Find an order of instruction, demos and inputs in which a program's prompts share more tokens.

    The program runs on some training rows as it is; every order of up to six blocks is tried on its calls (wide
    tables greedily), blocks that several predictors have in common in front of all of them. If that saves enough
    prompt tokens, both forms are scored on the select rows, and the new order is kept only if the one-sided 95 %
    lower bound of the score's change is at least --least. The choice is saved as parameters of the program, with the
    record of the test. Predictors whose layout is frozen stay as they are, and so do those of calls that go on from
    each other (@continue), whose prompts are not counted. Where there are too few select rows for the test, nothing is
    run.

    With --trials the tokens are those of an optimizer's run, whose candidates have other instructions and demos.

    \b
    Examples:
      lampc layout qa.lmp
      lampc layout table.lmp --data table.csv --save table.lampc
      lampc layout qa.lmp --trials 30 --demos 0 --dry-run
    """
    from lampc.passes.gate import Gate
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.sources import load
    from lampc.runtime.cli.targets import writable
    from lampc.runtime.session import Session
    from lampc.runtime.setup import task_of

    loaded = load(file, program)
    if loaded.unit.dynamic is not None:
        raise CommandError(f"{loaded.unit.dynamic.line()}\nonly compiled programs have prompts to arrange")
    task = task_of(loaded.unit, loaded.assignment, loaded.base, data=data, program=program, metric=metric, seed=seed)
    target = save or Path("out") / f"{file.stem}.layout.lampc"
    if target.suffix != ".lampc":
        raise CommandError(f"{target}: a program with chosen parameters is saved as .lampc: give a name that ends so")
    gate = Gate(least=least, seed=seed)
    if not dry_run:
        writable(target, "--save" if save else "the program,")
        if lacks := gate.lacks(len(task.select)):
            raise CommandError(
                f"{task.names[1]}: {lacks}, so no new order could be kept\n"
                "give it more rows, or count tokens alone with --dry-run"
            )
    options = engine_options(backend, tensor_parallel)
    with Session(model=model, base=loaded.base, seed=seed, model_options=options) as session:
        found = _found(session, task, sample, trials, demos, seed)
        typer.echo(told(found, task, min(sample, len(task.train))))
        if not found.asked:
            typer.echo("kept as written: there are no other calls to arrange")
        elif not found.layouts or found.saving <= worth:
            typer.echo(f"kept as written: a new order has to save more than {100 * worth:g} % of the prompt tokens")
        elif not dry_run:
            _decide(session, loaded, task, found, gate, target)


def _found(session: Session, task: Task, sample: int, trials: int, demos: int, seed: int) -> Arrangement:
    from lampc.runtime.arrange import arrange, calls_of, candidates
    from lampc.runtime.cli.failure import CommandError

    rows = task.train[:sample]
    outcomes = session.run(task.unit, rows, entry=task.program, assignment=task.start)
    steps = calls_of(outcomes)
    if not steps:
        why = next((str(o.error) for o in outcomes if o.error is not None), "it calls no model")
        raise CommandError(f"the program made no call on {len(rows)} rows: {why}")
    module = task.unit.module
    return arrange(session, module, steps, candidates(module, steps, task.start, trials, demos, seed))


def told(found: Arrangement, task: Task, rows: int) -> str:
    """What was found, in lines."""
    many = f" under {found.trials} candidates" if found.trials > 1 else ""
    lines = [f"{task.program or task.unit.entry}: {found.calls} calls on {rows} rows of {task.names[0]}{many}"]
    for name, layout in found.layouts.items():
        lines += [f"  {name}: {found.before[name]}", f"  {' ' * len(name)}  {layout}"]
    if found.apart:
        lines.append(f"  {', '.join(found.apart)}: in a conversation (@continue), so not moved, and not counted below")
    if not found.asked:
        return "\n".join(lines)
    change = (
        f"{found.as_is:,} -> {found.tokens:,} ({-100 * found.saving:+.1f} %)" if found.layouts else f"{found.as_is:,}"
    )
    lines.append(f"prompt tokens: {found.asked:,} asked, to compute where every prefix is shared: {change}")
    if found.rowwise < found.tokens:
        lines.append(f"an order of its own for each row would come to {found.rowwise:,}; no layout does this")
    return "\n".join(lines)


def _decide(session: Session, loaded: Loaded, task: Task, found: Arrangement, gate: Gate, target: Path) -> None:
    """Score both forms, say what came of it, and save the new one if it passes."""
    from lampc.passes.options import write_pass
    from lampc.passes.schedule.layout import Layout
    from lampc.runtime.gating import Form, judge_forms
    from lampc.runtime.saved import save, with_gates

    moved = task.start.updated(**{f"{name}.layout": layout for name, layout in found.layouts.items()})
    change = write_pass(Layout(tuple(found.layouts.items())))
    before, after = (Form(task.unit, a, task.program) for a in (task.start, moved))
    record, first, second = judge_forms(
        session, before, after, task.select, task.metric, change=change, gate=gate, cold=True
    )
    computed = f"{first.usage.computed_tokens:,} -> {second.usage.computed_tokens:,}"
    typer.echo(
        f"{task.metric.name} on {len(task.select)} rows of {task.names[1]}: {first.score:.1f} -> {second.score:.1f}; "
        f"prompt tokens computed there, each from empty caches: {computed}"
    )
    typer.echo(f"{record}\n  {record.why}")
    if not record.accepted:
        typer.echo("kept as written")
        return
    info: dict[str, Any] = {**loaded.info, "program": loaded.path.name}
    info |= {"score_before": first.score, "score_after": second.score} if "score_after" not in info else {}
    save(target, task.unit, moved, with_gates(info, [record]))
    typer.echo(f"saved: {target} (lampc explain {target}, lampc run {target} --input ...)")
