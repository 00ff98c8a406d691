"""`@lampc.program`: a function whose predictors stand outside of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from lampc.frontend.python.codes import wrong
from lampc.frontend.python.collect import declared
from lampc.frontend.python.frames import here
from lampc.frontend.python.serials import serials

MAX_ITERATIONS = 1000
"""How often a `while` or a loop over a list may go round unless the program says otherwise."""


class Program:
    """A function that asks models. Calling it runs it as plain Python; `trace` turns it into IR."""

    def __init__(self, function: Callable[..., Any], name: str, max_iters: int) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name, self.max_iters = function, name, max_iters
        self.serial = next(serials)
        self.loc = here()
        declared(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<program {self.name}>"


def program(function: Callable[..., Any] | None = None, *, name: str = "", max_iters: int = MAX_ITERATIONS) -> Any:
    """Declare a program: `@lampc.program` above a function.

    Its outputs are the fields of what it returns: a `Prediction`, a dict, or a plain value, whose name is
    that of the returned variable (`return label` gives `label`), else `result`. `max_iters` bounds loops
    whose number of rounds is only known at run time. Raises CompileError for a function that is async or yields.
    """
    if function is None:
        return lambda f: program(f, name=name, max_iters=max_iters)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        wish = "write `def`: the calls of all rows go out together anyway; to await a program, make it a lampc.Module"
        raise wrong("L0705", f"the program `{function.__name__}` is async", help=f"{wish} and use its `acall`")
    if inspect.isgeneratorfunction(function):
        wish = "return all outputs at once, for instance as a list"
        raise wrong("L0705", f"the program `{function.__name__}` yields, and a program has one result", help=wish)
    return Program(function, name or function.__name__, max_iters)
