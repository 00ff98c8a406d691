"""How commands fail: errors of ours as clear text, without a traceback; Ctrl-C with what was kept.

Exit code 1 for what is wrong with a program or its data, 130 for Ctrl-C. An exception that is not ours is a
bug: its traceback is shown. `LAMPC_DEBUG=1` shows all tracebacks.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import typer

P = ParamSpec("P")
R = TypeVar("R")

_kept: list[Callable[[], str]] = []


class CommandError(Exception):
    """What the user asked for cannot be done; the message says why and how to go on."""


def on_interrupt(say: Callable[[], str]) -> None:
    """What to tell when Ctrl-C stops the command from here on: what was kept, how to resume."""
    _kept.append(say)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C is not lost where Python ignores exceptions: one raised in a finaliser or a callback is raised again."""
    usual = sys.unraisablehook

    def again(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            # A moment later: within this hook it would be ignored once more.
            main = threading.main_thread().ident
            timer = threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGINT))
            timer.daemon = True
            timer.start()
        else:
            usual(unraisable)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = usual


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command so that it fails as this module's text says."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        _kept.clear()
        try:
            with interruptible():
                return command(*args, **kwargs)
        except typer.Exit:
            raise
        except KeyboardInterrupt as e:
            typer.echo(f"\n{e}" if str(e) else "\nstopped", err=True)
            for say in _kept:
                typer.echo(say(), err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
            raise typer.Exit(0) from None
        except Exception as e:
            if debugging():
                traceback.print_exc()
                raise typer.Exit(1) from e
            text = message(e)
            if text is None:
                traceback.print_exc()
                text = "lampc: this is a bug of lampc; the program that shows it would help to mend it"
            typer.echo(text, err=True)
            raise typer.Exit(1) from e

    return run


def debugging() -> bool:
    return os.environ.get("LAMPC_DEBUG", "") not in ("", "0")


def message(error: BaseException) -> str | None:
    """What to say of an error; None if it is nobody's fault but ours."""
    from lampc.ir import CompileError

    if isinstance(error, CompileError):
        return diagnostics(error)
    if isinstance(error, OSError) and error.filename:
        return f"error: {error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return f"error: cannot write: {error.strerror}; what was finished before is kept"
    if type(error).__module__.split(".")[0] == "lampc":
        return f"error: {clip(str(error), 600)}"
    return None


def clip(text: str, length: int = 300) -> str:
    """A message without the tail of what a model wrote."""
    return text if len(text) <= length else text[:length] + " ..."


def diagnostics(error: object) -> str:
    """The diagnostics of a CompileError, coloured if the terminal can, and a count if there are several."""
    from lampc.ir import CompileError, render

    assert isinstance(error, CompileError)
    out = [render(d, error.sources, color=colored()) for d in error.diagnostics]
    if len(out) > 1:
        out.append(f"{len(out)} errors")
    codes = list(dict.fromkeys(d.code for d in error.diagnostics))
    out.append(f"(lampc explain {codes[0]} says more)" if codes else "")
    return "\n\n".join(filter(None, out))


def colored() -> bool:
    """Whether messages may be coloured."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
