"""`lampc batch`: a file of prompts through a model."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lampc.runtime.cli.engines import Backend, Speculative, TensorParallel, engine_options

if TYPE_CHECKING:
    from lampc.backend import TokenEngine
    from lampc.runtime.batch import Figures, Lines, Results


def batch(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Requests, one JSON object a line; or a folder of such files, *.jsonl."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where results go, one JSON line each; for a folder, another folder.")
    ],
    model: Annotated[
        str, typer.Option("--model", help="firefly, a checkpoint folder, or the URL of an endpoint.")
    ] = "firefly",
    settings: Annotated[
        list[str], typer.Option("--set", "-s", metavar="NAME=VALUE", help="An option for all lines that have none.")
    ] = [],  # noqa: B006
    engine: Annotated[
        list[str], typer.Option("--engine", "-e", metavar="NAME=VALUE", help="An option of the engine.")
    ] = [],  # noqa: B006
    seed: Annotated[int, typer.Option("--seed", help="Of all random draws, together with the prompt.")] = 0,
    ordered: Annotated[bool, typer.Option("--ordered", help="At the end, put results in the input's order.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first line that is wrong or fails.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Run again what failed or met its timeout.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over: forget the results of an earlier run.")] = False,
    window: Annotated[int, typer.Option("--window", min=1, help="Requests held in memory at a time.")] = 256,
    backend: Backend = None,
    tensor_parallel: TensorParallel = None,
    speculative: Speculative = None,
) -> None:
    """Run every request of a JSONL file, or of a folder of them, through a model on this machine, or an endpoint's
    offline batches.

    Requests run together; lines that begin alike are run one after the other, and what they share is computed once.
    A result is written as soon as it is there (`line` says of which line it is): stopped at any time, even by force,
    the same command goes on with what is missing, and the results are the same as without a stop (but for lines with
    a "timeout" that is met: where they end depends on the time, and --retry runs them again).

    \b
    A line of FILE has one of
      "prompt"     a text that is continued
      "messages"   a conversation that is answered: [{"role": "user", "content": "..."}, ...]
      "ids"        token ids that are continued
    and, as it likes,
      "id"         comes back in its result
      "max_tokens" (64), "temperature" (0: greedy), "top_k", "top_p", "min_p", "presence_penalty", "frequency_penalty",
      "repetition_penalty", "logit_bias", "allowed_ids", "bad_words", "seed", "n", "best_of", "stop", "stop_ids",
      "min_tokens", "ignore_eos", "forced" (how the answer begins), "priority" (higher first), "timeout" (seconds from
      its start), "logprobs", "prompt_logprobs", "top_logprobs", "bad_ids", "adapter" (one that the engine loaded), and
      one of "choice", "regex", "json_schema", "grammar", to which the answer is kept
    Equal lines give equal results: for several answers to one prompt use "n", or a "seed" for each.
    A line that is wrong or fails gets a result with "error"; the others are not held up. Mend it in FILE and start
    again: only what was mended is run. Memory does not grow with the file: of a very long one 250,000 lines at a time
    are put in order. Files of a folder are run one after the other, each into a file of its own.

    With the URL of an endpoint as --model (-e model=NAME if it serves several) the lines go into batches of OpenAI's
    kind, at the price that its provider has for them, done within hours. Which line is in which batch is kept beside
    OUT until all is done: a stopped command waits for its batches when it is started again, and pays for none twice.

    \b
    Examples:
      echo '{"prompt": "The cat sat on", "max_tokens": 8}' > in.jsonl
      lampc batch in.jsonl --out out.jsonl
      lampc batch in.jsonl --out out.jsonl --model path/to/checkpoint -e dtype=bfloat16 -e kv_tokens=100000
      lampc batch requests/ --out results/
      lampc batch in.jsonl --out out.jsonl -s temperature=0.7 -s max_tokens=200 --ordered
      lampc batch in.jsonl --out out.jsonl --model https://api.openai.com/v1 -e model=NAME
    """
    from lampc.runtime.batch import Lines, Results
    from lampc.runtime.cli.batch_offline import offline
    from lampc.runtime.cli.loaded import loaded_engine
    from lampc.runtime.cli.targets import writable

    defaults = {"seed": seed, **parsed(settings, "--set")}
    options = parsed(engine, "--engine") | engine_options(backend, tensor_parallel, speculative)
    remote = "://" in model or model.startswith("openai/")
    _check(defaults, {} if remote else options)
    pairs = _pairs(file, out)
    for _, target in pairs:
        writable(target, "--out")
    for source, _ in pairs:
        if _blank(source):
            typer.echo(f"warning: {source} holds no requests; each line is one, as JSON", err=True)
    wrong = False
    made: TokenEngine | None = None
    with contextlib.ExitStack() as stack:
        for source, target in pairs:
            if remote:
                figures, before = offline(
                    source, target, model, dict(options), defaults,
                    ordered=ordered, strict=strict, retry=retry, fresh=fresh,
                )  # fmt: skip
                _tell(source, target, figures, before)
                wrong |= bool(figures.failed or before)
                continue
            with Results(target, retry=retry) as results:  # what cannot be written is said before anything is loaded
                made = made or stack.enter_context(loaded_engine(model, options))
                work = _Work(source, results, fresh, strict, ordered, window)
                wrong |= work.run(made, Lines(source, defaults, made.info.digest))
    if wrong:
        raise typer.Exit(1)


def _pairs(file: Path, out: Path) -> list[tuple[Path, Path]]:
    """(input, output) of each file. Raises CommandError."""
    from lampc.runtime.cli.failure import CommandError

    if file.is_dir():
        if out.exists() and (not out.is_dir() or out.samefile(file)):
            raise CommandError(f"--out {out}: give another folder, for the results of a folder's files")
        sources = sorted(file.glob("*.jsonl"))
        if not sources:
            raise CommandError(f"{file}: no *.jsonl file in this folder")
        out.mkdir(parents=True, exist_ok=True)
        return [(source, out / source.name) for source in sources]
    if not file.is_file():
        raise CommandError(f"{file}: no such file; give a JSONL file (it is read twice, so no pipe)")
    if out.exists() and out.samefile(file):
        raise CommandError(f"--out {out} is the input: give another file")
    return [(file, out)]


def _blank(file: Path) -> bool:
    """Whether there is nothing but white space in it. Reads up to the first other byte."""
    with file.open("rb") as source:
        return all(part.isspace() for part in iter(lambda: source.read(1 << 16), b""))


@dataclass(frozen=True)
class _Work:
    """One file of requests and its results."""

    file: Path
    results: Results
    fresh: bool
    strict: bool
    ordered: bool
    window: int

    def run(self, made: TokenEngine, lines: Lines) -> bool:
        """Do what is left of it; whether anything of it failed."""
        from lampc.runtime.batch import Figures, run_batch, survey
        from lampc.runtime.cli.failure import on_interrupt
        from lampc.runtime.events import EventBus
        from lampc.runtime.progress import Progress

        results, out, figures = self.results, self.results.path, Figures()
        with Progress(EventBus()) as progress:
            found = survey(lines, results, fresh=self.fresh, strict=self.strict)
            kept = f"{out} keeps what is finished; the same command goes on from there"
            on_interrupt(lambda: f"{found.known + figures.requests:,} of {found.total:,} lines were done; {kept}")
            if self.fresh:
                results.clear()
            if found.known:
                progress.say(f"{out}: {found.known:,} of {found.total:,} lines are finished, going on from there")

            def told(now: Figures) -> None:
                nonlocal figures
                figures = now
                note = f"{now.rate:,.0f} tokens/s" + (f"  {now.failed:,} failed" if now.failed else "")
                progress.show("batch", found.known + now.requests, found.total, note)

            if len(found.order):
                progress.show("batch", found.known, found.total)
            with asked_to_stop() as stopped:
                todo, window = found.todo(lines, results), self.window
                figures = run_batch(
                    made, todo, results, window=window, strict=self.strict, on_line=told, stopped=stopped
                )
                results.finish(ordered=self.ordered)
        _tell(self.file, out, figures, found.failed)
        return bool(figures.failed or found.failed)


def _tell(file: Path, out: Path, figures: Figures, before: int) -> None:
    """What was done, and which lines want a person's attention."""
    from lampc.runtime.cli.failure import clip

    for number, message in sorted(figures.errors):
        typer.echo(f"error: {file}:{number}: {clip(message)}", err=True)
    if figures.failed > len(figures.errors):
        typer.echo(f"... and {figures.failed - len(figures.errors):,} more lines failed", err=True)
    if before:
        typer.echo(f"{before:,} lines failed in an earlier run: mend them in {file}, or use --retry", err=True)
    typer.echo(f"{out}: {figures}", err=True)


def parsed(pairs: list[str], flag: str) -> dict[str, Any]:
    """NAME=VALUE each; a value is JSON, or else a text."""
    import json

    from lampc.runtime.cli.failure import CommandError

    found: dict[str, Any] = {}
    for pair in pairs:
        name, given, value = pair.partition("=")
        if not given:
            raise CommandError(f"{flag} {pair}: give NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _check(defaults: dict[str, Any], options: dict[str, Any]) -> None:
    """Raises CommandError for what no line, or no engine, can have."""
    from lampc.backend import load_engine
    from lampc.backend.options import check_load_options, wanted
    from lampc.runtime.cli.failure import CommandError

    try:
        wanted(None, defaults, "--set")
        check_load_options(options, load_engine, "--engine")
    except (TypeError, ValueError) as e:
        raise CommandError(str(e)) from None


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; a second time it interrupts at once."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # started so, as in the background of a script
        yield lambda: False
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
