"""`lampc serve`: a model and programs behind HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lampc.runtime.cli.engines import Backend, Speculative, TensorParallel, engine_options

if TYPE_CHECKING:
    from lampc.runtime.serve import Limits, Program

KEYS = "LAMPC_SERVE_KEYS"


def serve(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Programs: .lmp, .py, .lir, .lampc. None is fine, too.")
    ] = [],  # noqa: B006
    model: Annotated[str, typer.Option("--model", help="firefly or a checkpoint folder.")] = "firefly",
    name: Annotated[str | None, typer.Option("--name", help="What the model is called.")] = None,
    host: Annotated[str, typer.Option("--host", help="The address that is listened on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help=f"API keys, one a line; also from ${KEYS}.")
    ] = None,
    adapters: Annotated[
        list[str],
        typer.Option("--adapter", metavar="NAME=FOLDER", help="A LoRA adapter, which requests choose as their model."),
    ] = [],  # noqa: B006
    embedder: Annotated[
        str | None,
        typer.Option(
            "--embedder", metavar="MODEL", help="An encoder's folder, or MODULE:FUNCTION, of a list of texts."
        ),
    ] = None,
    engine: Annotated[
        list[str], typer.Option("--engine", "-e", metavar="NAME=VALUE", help="An option of the engine.")
    ] = [],  # noqa: B006
    limits: Annotated[
        list[str],
        typer.Option("--limit", "-l", metavar="NAME=VALUE", help="A limit: see below."),
    ] = [],  # noqa: B006
    fast: Annotated[
        bool, typer.Option("--fast", help="Tokens may depend on who is served at the same time, in their last bits.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of programs that are asked for none.")] = 0,
    backend: Backend = None,
    tensor_parallel: TensorParallel = None,
    speculative: Speculative = None,
    one_process: Annotated[
        bool,
        typer.Option("--one-process", help="The engine runs in this process, not in its own: less memory, slower."),
    ] = False,
    log: Annotated[str, typer.Option("--log", help="critical, error, warning, info or debug.")] = "warning",
) -> None:
    """Serve a model on this machine, and programs that run on it, over HTTP.

    The model answers as OpenAI's API: /v1/completions, /v1/chat/completions, /v1/models, /v1/embeddings (with
    --embedder); and /tokenize, /detokenize. A program has its own path, /programs/NAME, with typed inputs and
    outputs; GET /programs says which. /health and /metrics (Prometheus) are for whoever watches.

    \b
    Limits (NAME=VALUE):
      body=4194304      bytes of a request
      tokens=N          most tokens of one generation (default: what the context holds)
      choices=128       most generations of one request
      queue=512         generations under way; beyond that requests get 429
      seconds=600       from arrival to the end of an answer
      connections=2048  open at a time
      programs=64       programs that run at a time, and requests for vectors
      events=50         most a second of each generation of a stream; the first and the last at once
      drain=30          seconds that requests have to end after SIGTERM

    \b
    Examples:
      lampc serve
      lampc serve --model path/to/checkpoint --adapter law=path/to/one --adapter code=path/to/another
      lampc serve qa.lmp classify.lampc --model path/to/checkpoint --port 9000 -e dtype=bfloat16
      curl localhost:8000/programs/QA -H 'content-type: application/json' -d '{"inputs": {"question": "Who?"}}'
    """
    from lampc.runtime.cli.batch import parsed
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.loaded import driven_engine
    from lampc.runtime.collector import settle

    try:
        from lampc.runtime.serve import App, Server, ServerFailed
    except ModuleNotFoundError as e:
        raise CommandError(f"lampc serve needs the package {e.name}: pip install 'lampc[serve]'") from None
    programs = _programs(files)
    given = _keys(keys)
    bounds = _limits(parsed(limits, "--limit"))
    embed = _embedder(embedder) if embedder is not None else None
    local = host in ("127.0.0.1", "localhost", "::1")
    if not local and not given:
        typer.echo(f"warning: {host} is reachable from elsewhere, and no key is wanted: --keys FILE", err=True)
    # Who waits is passed by as many as can come before its turn: else a full queue would keep urgent ones waiting.
    options = {
        "exact": not fast,
        "patience": 4 * bounds.queue,
        **parsed(engine, "--engine"),
        **engine_options(backend, tensor_parallel, speculative),
    }
    if adapters:
        options["adapters"] = _adapters(adapters)
    with driven_engine(model, options, one_process) as made:
        try:
            app = App(
                made,
                name=name,
                found=programs,
                embed=embed,
                limits=bounds,
                keys=given,
                local=local,
                seed=seed,
            )
            server = Server(app, host=host, port=port, log_level=log)
        except (ValueError, ServerFailed) as e:
            raise CommandError(str(e)) from e
        served = ", ".join([*app.service.models, *(f"/programs/{p.name}" for p in programs)])

        def ready() -> None:
            settle()
            typer.echo(f"serving {served} at {server.url}", err=True)

        server.run(ready)


def _programs(files: list[Path]) -> list[Program]:
    """Of all files, each under a path of its own. Raises CommandError."""
    from lampc.runtime.cli.failure import CommandError

    owners: dict[str, Path] = {}
    programs = [_program(file) for file in files]
    for file, program in zip(files, programs, strict=True):
        other = owners.setdefault(program.name, file)
        if other is not file:
            path = f"/programs/{program.name}"
            raise CommandError(f"{other} and {file} would both be {path}: serve one, or each on a --port of its own")
    return programs


def _program(file: Path) -> Program:
    from lampc.runtime.cli.sources import load
    from lampc.runtime.serve import Program

    loaded = load(file)
    return Program(loaded.unit.entry or file.stem, loaded.unit, loaded.assignment, loaded.base)


def _adapters(pairs: list[str]) -> dict[str, str]:
    """Folders by the names that requests have for them. Raises CommandError."""
    from lampc.runtime.cli.failure import CommandError

    found: dict[str, str] = {}
    for pair in pairs:
        name, given, folder = pair.partition("=")
        if not (given and name and folder):
            raise CommandError(f"--adapter {pair}: give NAME=FOLDER")
        if name in found:
            raise CommandError(f"--adapter {pair}: there are two of that name")
        found[name] = folder
    return found


def _limits(given: dict[str, Any]) -> Limits:
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.serve import Limits

    known = list(Limits.__dataclass_fields__)
    for name in given:
        if name not in known:
            raise CommandError(f"--limit {name}: there is no such limit; there are {', '.join(known)}")
    try:
        return Limits(**given)
    except ValueError as e:
        raise CommandError(f"--limit: {e}") from None


def _keys(file: Path | None) -> list[str]:
    """Keys of a file and of the environment; never from the command line, which others on the machine can read."""
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.cli.sources import read_text

    found = [k.strip() for k in os.environ.get(KEYS, "").replace(",", "\n").split("\n") if k.strip()]
    if file is not None:
        own = [k.strip() for k in read_text(file).splitlines() if k.strip() and not k.startswith("#")]
        if not own:
            raise CommandError(f"{file}: there is no key in it; write one a line")
        found += own
    return found


def _embedder(spec: str) -> Callable[[list[str]], Any]:
    """The encoder of a folder, or what MODULE:FUNCTION names. Raises CommandError."""
    import importlib
    import sys

    from lampc.backend.errors import BackendError
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.retrieval.embedder import Embedder

    if Path(spec).is_dir():
        try:
            return Embedder(Path(spec), caching=False)
        except (BackendError, ValueError) as e:
            raise CommandError(f"--embedder {spec}: {e}") from e
    module, colon, function = spec.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function) if colon else None
    except (ImportError, AttributeError) as e:
        raise CommandError(f"--embedder {spec}: {e}") from None
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise CommandError(
            f"--embedder {spec}: give an encoder's folder, or MODULE:FUNCTION, a function of a list of texts"
        )
    made: Callable[[list[str]], Any] = found
    return made
