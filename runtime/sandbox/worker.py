"""The process of a `LocalInterpreter`: lines of JSON with code come in, lines with what came of it go out.

It is run as a file, without anything of lampc: `python worker.py OUTPUT`, where OUTPUT bounds what code may print.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import random
import sys
from typing import Any

_wire: list[Any] = []


class Submitted(BaseException):
    """The code called SUBMIT: no `except Exception` stops that."""


class Bounded(io.StringIO):
    """What code prints, up to a bound."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def write(self, text: str) -> int:
        self.left -= len(text)
        if self.left < 0:
            raise MemoryError("the code printed more than it may")
        return super().write(text)


def plain(value: Any) -> Any:
    """What has no JSON: sets as lists in an order of their own, all else as text."""
    return sorted(value, key=repr) if isinstance(value, set | frozenset) else repr(value)


def send(message: dict[str, Any]) -> None:
    _wire[0].write(json.dumps(message, default=plain) + "\n")
    _wire[0].flush()


def ask(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the other side answers to a call."""
    send({"call": name, "args": args, "kwargs": kwargs})
    line = sys.__stdin__.readline() if sys.__stdin__ else ""
    if not line:
        os._exit(0)
    answer = json.loads(line)
    if answer.get("submitted"):
        raise Submitted
    if "error" in answer:
        raise {"TypeError": TypeError, "NameError": NameError}.get(answer["kind"], RuntimeError)(answer["error"])
    return answer["value"]


def run(names: dict[str, Any], code: str, most: int) -> dict[str, Any]:
    """Run code; the message that says what it gave."""
    said = Bounded(most)
    try:
        tree = ast.parse(code)
        last = tree.body[-1] if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        if last is not None:
            tree.body.pop()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            exec(compile(tree, "<code>", "exec"), names)
            value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names) if last is not None else None
        return {"value": said.getvalue() if value is None else value}
    except Submitted:
        return {"submitted": True}
    except SyntaxError as e:
        return {"failed": f"{e.msg} (line {e.lineno})", "kind": "SyntaxError"}
    except BaseException as e:
        at, line = e.__traceback__, 0
        while at is not None:
            line = at.tb_lineno if at.tb_frame.f_code.co_filename == "<code>" else line
            at = at.tb_next
        return {"failed": f"{type(e).__name__}: {e}" + (f" (line {line})" if line else ""), "kind": "Error"}


def caller(name: str) -> Any:
    return lambda *args, **kwargs: ask(name, args, kwargs)


def connect() -> None:
    """Messages go where output went; what native code prints goes nowhere, so that it is not taken for a message."""
    _wire.append(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def main() -> None:
    connect()
    random.seed(0)
    names: dict[str, Any] = {"__name__": "__main__"}
    for line in sys.stdin:
        request = json.loads(line)
        for name in request["calls"]:
            names[name] = caller(name)
        names.update(request["variables"])
        try:
            send(run(names, request["code"], int(sys.argv[1])))
        except (ValueError, TypeError, RecursionError) as e:
            send({"failed": f"{type(e).__name__}: the result has no text: {e}", "kind": "Error"})


if __name__ == "__main__":
    main()
