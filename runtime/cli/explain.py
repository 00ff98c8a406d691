"""`lampc explain`: diagnostics, passes, and where a program's tokens go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lampc.runtime.cli.engines import Backend, TensorParallel, engine_options

if TYPE_CHECKING:
    from lampc.runtime.cli.sources import Loaded
    from lampc.runtime.estimate import Estimate
    from lampc.runtime.kvreads import KvReads
    from lampc.runtime.session import Session
    from lampc.runtime.types import Row


def explain(
    what: Annotated[str, typer.Argument(metavar="CODE|PASS|FILE", help="L0204, share-prefix, or qa.lmp.")],
    analyze: Annotated[bool, typer.Option("--analyze", help="Run the rows, and put the actual counts beside.")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="Rows to plan for; else the program's own data.")] = None,
    split: Annotated[str, typer.Option("--split", help="Which split of the program's data.")] = "",
    rows: Annotated[int, typer.Option("--rows", help="How many rows at most.")] = 100,
    program: Annotated[str | None, typer.Option("--program", help="Which program of the file.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Plan for this model.")] = None,
    backend: Backend = None,
    tensor_parallel: TensorParallel = None,
) -> None:
    """Explain a diagnostic code, a pass, or the plan of a program.

    The plan says for each predictor how often it is called, how many prompt tokens that asks for, and the
    bound: how many of them must be computed if every shared prefix is computed once. Counts that hang on what
    the model answers are estimates. --analyze runs the rows and prints what was really computed and reused.

    \b
    Examples:
      lampc explain L0204
      lampc explain cse
      lampc explain qa.lmp --analyze --rows 50
    """
    from lampc.runtime.cli.failure import CommandError

    if re.fullmatch(r"[A-Z]\d{4}", what):
        typer.echo(code(what))
        return
    from lampc.passes.table import PASSES

    if what in PASSES:
        typer.echo(pass_text(what))
        return
    if not Path(what).suffix:
        raise CommandError(f"`{what}` is no code (L0204), no pass ({', '.join(PASSES)}) and no file")
    plan(Path(what), analyze, data, split, rows, program, model, engine_options(backend, tensor_parallel))


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
) -> None:
    """Print the plan of a program, and with `analyze` what a run of it did."""
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.sources import entry, load
    from lampc.runtime.estimate import estimate
    from lampc.runtime.session import Session

    loaded = load(file)
    func = entry(loaded, program)
    if func is None:
        assert loaded.unit.dynamic is not None
        raise CommandError(f"{loaded.unit.dynamic.line()}\nits calls are only known when it runs: use lampc run")
    chosen, source = _rows(loaded, data, split, most, func.symbol)
    with Session(model=model, base=loaded.base, model_options=options) as session:
        planned = estimate(session, loaded.module, chosen, func.symbol, loaded.assignment, loaded.base)
        typer.echo(f"{file}: {func.symbol} on {source}")
        _lowered(session, loaded)
        _table(planned, session, loaded, chosen, func.symbol, analyze)


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


def _lowered(session: Session, loaded: Loaded) -> None:
    """Say what the standard pipeline did."""
    from lampc.ir.prog import DefPredictor
    from lampc.passes.manager import PassContext, Pipeline, RunOptions
    from lampc.passes.table import STANDARD
    from lampc.runtime.compile import specialise

    module = specialise(loaded.module, loaded.assignment)
    models = {op.model.name for op in module.body.ops if isinstance(op, DefPredictor)}
    ctx = PassContext(targets={n: session.target(module, n) for n in sorted(models)})
    report = Pipeline.parse(STANDARD).run(module, ctx, RunOptions(verify_each=False, crash_dir=None))
    for row in report.rows:
        counted = ", ".join(f"{k} {v}" for k, v in row.counters.items() if v)
        typer.echo(f"  {row.name:<14} {row.label}  {counted or '-'}")
    typer.echo("")


def _table(planned: Estimate, session: Session, loaded: Loaded, rows: list[Row], entry: str, analyze: bool) -> None:
    from lampc.runtime.estimate import NodeEstimate
    from lampc.runtime.kvreads import KvReads
    from lampc.runtime.types import Usage

    head = ["node", "calls", "prompt tok", "bound"]
    lines = [[n.name, f"{n.calls}", f"{n.prompt_tokens:,}", f"{n.bound:,}"] for n in planned.nodes.values()]
    calls, tokens = sum(n.calls for n in planned.nodes.values()), sum(n.prompt_tokens for n in planned.nodes.values())
    total = ["total", f"{calls}", f"{tokens:,}", f"{planned.bound:,}"]
    failures: list[str] = []
    if analyze:
        head = ["node", "calls", "act", "prompt tok", "act", "computed", "reused", "bound"]
        reads = KvReads(session, loaded.module, session.executable(loaded.module, entry, loaded.assignment))
        with reads:
            outcomes = session.run(loaded.unit, rows, entry=entry, assignment=loaded.assignment)
        failures = [str(o.error) for o in outcomes if o.error is not None]
        used = session.usage_by_node
        lines = []
        for name in [*planned.nodes, *(n for n in used if n not in planned.nodes)]:
            node, act = planned.nodes.get(name) or NodeEstimate(name), used.get(name, Usage())
            reused = _share(act.cached_tokens + act.stored_tokens, act.prompt_tokens)
            lines.append([name, *_counts(node.calls, act.calls, node.prompt_tokens, act.prompt_tokens)])
            lines[-1] += [f"{act.computed_tokens:,}", reused, f"{node.bound:,}"]
        all_ = session.usage
        bound = session.bound()
        total = ["total", *_counts(calls, all_.calls, tokens, all_.prompt_tokens)]
        total += [f"{all_.computed_tokens:,}", _share(all_.cached_tokens + all_.stored_tokens, all_.prompt_tokens)]
        total.append(f"{bound:,}" if bound is not None else "?")
    typer.echo(columns([head, *lines, total]))
    if planned.failed:
        typer.echo(
            f"\n{planned.failed} of {planned.rows} rows could not be followed with guessed answers: {planned.why}"
        )
    if analyze:
        _verdict(session, failures)
        if reads.models:
            typer.echo(f"\n{kv_table(reads)}")
    else:
        typer.echo(
            "\nbound: tokens to compute if each shared prefix is computed once; --analyze puts the actuals beside"
        )


def _verdict(session: Session, failures: list[str]) -> None:
    from lampc.runtime.cli.failure import clip
    from lampc.runtime.plan import beside_bound

    used, bound = session.usage, session.bound()
    if bound:
        beside = beside_bound(used.computed_tokens, bound)
        typer.echo(f"\ncomputed {used.computed_tokens:,} prompt tokens; the prefix tree needs {bound:,} ({beside})")
    typer.echo(f"generated {used.generated_tokens:,} tokens in {used.seconds:.1f} s")
    for failure in failures[:3]:
        typer.echo(f"failed: {clip(failure)}")
    if len(failures) > 3:
        typer.echo(f"... and {len(failures) - 3} more rows failed")


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


def _counts(*numbers: int) -> list[str]:
    return [f"{n:,}" for n in numbers]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


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
