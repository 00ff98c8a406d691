"""Python sources, read as trees and found behind functions and classes, by one thread at a time.

CPython before 3.11.8 and 3.12.2 counts the depth of a tree under construction for all threads together, and a thread
that the garbage collector lets in between fails with `SystemError: AST constructor recursion depth mismatch`
(python/cpython#106905). `inspect.getsource` builds a tree to find a class.
"""

from __future__ import annotations

import ast
import inspect
import os
import threading
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, overload

_BUILDING = threading.RLock()  # a finalizer that runs in the middle may come back


def _free() -> None:
    global _BUILDING  # in a forked process nobody would ever free it
    _BUILDING = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free)


@overload
def parse(text: str, path: str = ..., mode: Literal["exec"] = ...) -> ast.Module: ...
@overload
def parse(text: str, path: str = ..., *, mode: Literal["eval"]) -> ast.Expression: ...
def parse(text: str, path: str = "<unknown>", mode: str = "exec") -> ast.AST:
    """The tree of `text`. Raises SyntaxError, and ValueError for null bytes, as `ast.parse` does."""
    with _BUILDING:
        return ast.parse(text, path, mode)


def literal(text: str) -> Any:
    """The value of a Python literal, quietly where it has odd escapes. Raises what `ast.literal_eval` raises."""
    with _BUILDING, warnings.catch_warnings():  # which changes the filters of all threads
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def source_of(thing: Callable[..., Any] | ModuleType) -> str:
    """The source of a function, class or module. Raises OSError if it cannot be had and TypeError for built-ins."""
    with _BUILDING:
        return inspect.getsource(thing)
