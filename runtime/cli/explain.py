"""`lampc explain`: diagnostics, passes, and where a program's tokens go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lampc.runtime.cli.engines import Backend, TensorParallel, engine_options, price_option

if TYPE_CHECKING:
    from lampc.runtime.cli.sources import Loaded
    from lampc.runtime.kvreads import KvReads
    from lampc.runtime.providers.prices import Price
    from lampc.runtime.session import Session
    from lampc.runtime.types import Row


def explain(
    what: Annotated[str, typer.Argument(metavar="CODE|PASS|OPTIMIZER|FILE", help="L0204, cse, mipro, or qa.lmp.")],
    analyze: Annotated[bool, typer.Option("--analyze", help="Run the rows, and put the actual counts beside.")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="Rows to plan for; else the program's own data.")] = None,
    split: Annotated[str, typer.Option("--split", help="Which split of the program's data.")] = "",
    rows: Annotated[int, typer.Option("--rows", help="How many rows at most.")] = 100,
    program: Annotated[str | None, typer.Option("--program", help="Which program of the file.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Plan for this model.")] = None,
    price: Annotated[
        str, typer.Option("--price", help="Of an endpoint, per million tokens: PROMPT,ANSWER or PROMPT,ANSWER,CACHED.")
    ] = "",
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="DIR", help="Record the plan in DIR/plan, and the run in DIR/run."),
    ] = None,
    backend: Backend = None,
    tensor_parallel: TensorParallel = None,
) -> None:
    """Explain a diagnostic code, a pass, an optimizer with its options, or the plan of a program.

    The plan says for each predictor how often it is called, on how many rows, how many prompt tokens that asks for,
    how many of them are computed and which share is reused, how many tokens it writes, how long that takes; and the
    bound: how many prompt tokens must be computed if every shared prefix is computed once. The program is run on an
    engine that only counts, by costs that are measured once on this machine, with guessed answers: as long as those of
    earlier runs, of demos, or as declared. --analyze runs the rows, puts the actual counts beside, and prints
    for each kv.* op which kernel computed it, how many requests read together and which prefix they read once.

    \b
    Examples:
      lampc explain L0204
      lampc explain cse
      lampc explain bootstrap
      lampc explain qa.lmp --analyze --rows 50
      lampc explain qa.lmp --record out/qa && lampc trace out/qa/plan -o plan.json
    """
    from lampc.runtime.cli.failure import CommandError

    if re.fullmatch(r"[A-Z]\d{4}", what):
        typer.echo(code(what))
        return
    from lampc.passes.table import PASSES

    if what in PASSES:
        typer.echo(pass_text(what))
        return
    from lampc.passes.optimize import OPTIMIZERS

    if what in OPTIMIZERS:
        from lampc.runtime.cli.steps import described

        typer.echo(described(what))
        return
    if not Path(what).suffix:
        known = f"no pass ({', '.join(PASSES)}), no optimizer ({', '.join(sorted(OPTIMIZERS))})"
        raise CommandError(f"`{what}` is no code (L0204), {known} and no file")
    options = engine_options(backend, tensor_parallel)
    plan(Path(what), analyze, data, split, rows, program, model, options, price_option(price), record)


def code(name: str) -> str:
    """The explanation of a diagnostic code. Raises CommandError."""
    from lampc.ir import CODES
    from lampc.runtime.cli.failure import CommandError

    register_codes()
    if name not in CODES:
        near = [c for c in sorted(CODES) if c[:3] == name[:3]]
        hint = f"codes near it: {', '.join(near)}" if near else f"there are {len(CODES)} codes, {min(CODES)} onwards"
        raise CommandError(f"there is no diagnostic code {name}; {hint}")
    title, _, text = CODES[name].partition("\n")
    return f"{name}: {title}\n\n{text}"


def register_codes() -> None:
    """Import whatever explains codes: the frontends, the passes, the readers of data and of saved programs."""
    import importlib
    import pkgutil

    for package in ("lampc.frontend", "lampc.ir.templates", "lampc.passes"):
        root = importlib.import_module(package)
        for found in pkgutil.walk_packages(root.__path__, package + "."):
            importlib.import_module(found.name)
    for name in ("data", "saved"):
        importlib.import_module(f"lampc.runtime.{name}")


def pass_text(name: str) -> str:
    """What a pass does, its label and options."""
    import inspect

    from lampc.passes.options import options
    from lampc.passes.table import LABELS, load

    cls = load(name)
    label = getattr(cls, "label", "?")
    lines = [f"{name}  [{label}: {LABELS.get(label, '')}]", "", inspect.cleandoc(cls.__doc__ or "")]
    found = options(cls)
    if found:
        lines += ["", "options:", *(f"  {n}: {getattr(t, '__name__', t)} = {default!r}" for n, t, default in found)]
    return "\n".join(lines)


def plan(
    file: Path,
    analyze: bool,
    data: Path | None,
    split: str,
    most: int,
    program: str | None,
    model: str | None,
    options: dict[str, Any],
    price: Price | None = None,
    record: Path | None = None,
) -> None:
    """Print the plan of a program, and with `analyze` what a run of it did."""
    from lampc.runtime.cli.explained import Explained
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.sources import entry, load
    from lampc.runtime.cli.targets import writable
    from lampc.runtime.records import RECORD_FILE
    from lampc.runtime.session import Session

    if record is not None:
        writable(record / "plan" / RECORD_FILE, "--record")
    loaded = load(file, program)
    func = entry(loaded, program)
    if func is None:
        assert loaded.unit.dynamic is not None
        raise CommandError(f"{loaded.unit.dynamic.line()}\nits calls are only known when it runs: use lampc run")
    chosen, source = _rows(loaded, data, split, most, func.symbol)
    with Session(model=model, base=loaded.base, model_options=options) as session:
        typer.echo(f"{file}: {func.symbol} on {source}")
        labels = _lowered(session, loaded)
        explained = Explained(session, loaded, chosen, func.symbol, labels, price, record)
        typer.echo(explained.table(analyze))


def _rows(loaded: Loaded, data: Path | None, split: str, most: int, entry: str) -> tuple[list[Row], str]:
    """Rows to plan for, and what to call them."""
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.run import table
    from lampc.runtime.data import interface, load_dataset
    from lampc.runtime.estimate import placeholder_row

    params, _ = interface(loaded.module, entry)
    if data is not None:
        found = table(loaded, data, entry)[:most]
        return found, f"{len(found)} rows of {data}"
    fitting = [d for d in loaded.unit.datasets.values() if set(params.names()) <= {c.name for c in d.columns}]
    if not fitting:
        return [placeholder_row(params)], "one row of made-up inputs (give --data for real ones)"
    splits = load_dataset(fitting[0], loaded.base, inputs=params.names())
    name = split or next((n for n in ("dev", "test") if n in splits), next(iter(splits)))
    if name not in splits:
        raise CommandError(f"--split {name}: `{fitting[0].name}` has {', '.join(splits)}")
    found = splits[name][:most]
    return found, f"{len(found)} rows of {fitting[0].name}.{name}"


def _lowered(session: Session, loaded: Loaded) -> str:
    """Say what the standard pipeline did; gives the labels of the passes that did something."""
    from lampc.ir.adapters import bind_predictors
    from lampc.passes.manager import PassContext, RunOptions
    from lampc.passes.optimize.cascade import told
    from lampc.runtime.cli.kept import kept
    from lampc.runtime.compile import models_of, passes_for, specialise

    module = specialise(loaded.module, loaded.assignment)
    models = models_of(module)
    ctx = PassContext(targets={n: session.target(module, n) for n in sorted(models)}, gates=loaded.gates)
    options = RunOptions(verify_each=False, crash_dir=None, on_trial=True)
    report = passes_for(loaded.module, loaded.assignment).run(module, ctx, options)
    labels = []
    for row in report.rows:
        counted = ", ".join(f"{k} {v}" for k, v in row.counters.items() if v)
        labels += [row.label] if counted else []
        typer.echo(f"  {row.name:<14} {row.label}  {counted or '-'}")
    for line in kept(module):
        typer.echo(f"  {line}")
    for name, bound in bind_predictors(module).items():
        if bound.cascade is not None:
            labels.append("G")
            typer.echo(f"  {'cascade':<14} G  `{name}`: {told(bound.cascade)}")
    for record in ctx.gates:
        labels += ["G"] if record.accepted else []
        why = "" if record.accepted else f": {record.why}"
        typer.echo(f"  {record.change:<14} G  {record}{why}")
    typer.echo("")
    return "".join(dict.fromkeys(labels))


def kv_table(reads: KvReads) -> str:
    """Of each `kv.*` op: what computed it, how many requests read together, and which prefix they read once."""
    lines = [["attention", "tokens", "kernel", "group", "prefix", "KV read", "each alone"]]
    for op in reads.ops:
        group, prefix = (", ".join(str(level[i]) for level in op.levels) or "-" for i in (0, 1))
        sizes = [f"{size / 1000:,.1f} kB" if op.tokens else "-" for size in (op.nbytes, op.alone)]
        lines.append([op.name, f"{op.tokens:,}", ", ".join(sorted(op.kernels)) or "-", group, prefix, *sizes])
    note = "group: requests that read the tokens of prefix once for all of them, level by level, where most was shared"
    ranks = f"; bytes of the first of {reads.ranks} ranks" if reads.ranks > 1 else ""
    return f"{columns(lines, rule=False)}\n{note}{ranks}"


def columns(rows: list[list[str]], *, rule: bool = True) -> str:
    """A table: the first column to the left, numbers to the right; a `rule` stands before the last row."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    out = [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))).rstrip()
        for r in rows
    ]
    if rule:
        out.insert(len(out) - 1, "-" * len(out[0]))
    return "\n".join(out)
