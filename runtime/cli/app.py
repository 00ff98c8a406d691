"""The table of commands and the way in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from lampc.runtime.cli.batch import batch
from lampc.runtime.cli.cache import cache
from lampc.runtime.cli.check import check
from lampc.runtime.cli.demo import demo
from lampc.runtime.cli.diff import diff
from lampc.runtime.cli.explain import explain
from lampc.runtime.cli.export import export
from lampc.runtime.cli.failure import guarded
from lampc.runtime.cli.fmt import fmt
from lampc.runtime.cli.graph import graph
from lampc.runtime.cli.layout import layout
from lampc.runtime.cli.opt import opt
from lampc.runtime.cli.optimize import optimize
from lampc.runtime.cli.print_ import print_
from lampc.runtime.cli.render import render
from lampc.runtime.cli.report import report
from lampc.runtime.cli.run import run
from lampc.runtime.cli.serve import serve
from lampc.runtime.cli.tests import declared_tests
from lampc.runtime.cli.trace import trace
from lampc.runtime.collector import own

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

COMMANDS: dict[str, Callable[..., Any]] = {
    "check": check,
    "fmt": fmt,
    "print": print_,
    "opt": opt,
    "render": render,
    "run": run,
    "batch": batch,
    "serve": serve,
    "test": declared_tests,
    "optimize": optimize,
    "layout": layout,
    "report": report,
    "diff": diff,
    "explain": explain,
    "graph": graph,
    "trace": trace,
    "demo": demo,
    "export": export,
    "cache": cache,
}

for _name, _command in COMMANDS.items():
    app.command(_name)(guarded(_command))


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"lampc {version('lampc')}")
        except PackageNotFoundError:
            typer.echo("lampc, from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def _lampc(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it and end.")
    ] = False,
) -> None:
    """The compiler for LM programs: better prompts and fewer tokens, measured.

    \b
    Files by their ending: .lmp (the language), .py (Python), .lir (IR text), .lampc (a tuned program).
    \b
    A first look:
      lampc check qa.lmp                          what is wrong, and where
      lampc run qa.lmp --input question="Who?"    run it once
      lampc optimize qa.lmp                       better instructions and demos, by its own metric
      lampc layout qa.lmp                         fewer prompt tokens by another order, tested
      lampc report out/qa                         what that tried and cost, on one page
      lampc diff qa.lmp qa.lampc                  what it changed, word by word
      lampc explain qa.lmp --analyze              where the prompt tokens go
      lampc batch in.jsonl --out out.jsonl        bare prompts through a model, without any program
      lampc serve qa.lmp                          model and program behind HTTP, for OpenAI's clients
    \b
    Exit codes: 0 done, 1 the program or its data are wrong, 2 the command line is, 130 stopped by Ctrl-C.
    LAMPC_DEBUG=1 shows the traceback of every error.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character is no reason to fail
    if arguments is None:
        own()
    try:
        app(args=None if arguments is None else list(arguments), prog_name="lampc")
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(bool(e.code))
    return 0
