"""The source of a function: its syntax tree with true lines and columns, and the names it can see."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from lampc.frontend.python.codes import untraceable
from lampc.ir import Span
from lampc.ir.sources import parse


@dataclass(frozen=True, slots=True)
class Source:
    """A function's tree, file and outer names."""

    node: ast.FunctionDef
    path: str
    qualname: str
    outer: dict[str, Any]
    function: FunctionType

    def span(self, node: ast.AST) -> Span:
        """Where a node stands (columns from 1, as editors count them)."""
        line = getattr(node, "lineno", self.node.lineno)
        column = getattr(node, "col_offset", 0) + 1
        end = getattr(node, "end_lineno", None) or line
        end_column = (getattr(node, "end_col_offset", None) or 0) + 1
        return Span(self.path, line, column, end, end_column, self.qualname)


def source_of(function: Callable[..., Any]) -> Source:
    """The source of a Python function, of a decorated one that of what the decorator put in its place. Raises
    Untraceable (L0710, L0711)."""
    inner = function
    code: CodeType | None = getattr(inner, "__code__", None)
    if code is None or not isinstance(inner, FunctionType):
        name = getattr(function, "__qualname__", repr(function))
        raise untraceable("L0710", Span("<unknown>", 1), f"`{name}` has no Python source")
    at = Span(code.co_filename, code.co_firstlineno, function=inner.__qualname__)
    try:
        lines, _ = inspect.findsource(inner)
    except OSError:
        raise untraceable("L0710", at, f"the source of `{inner.__qualname__}` cannot be read") from None
    tree = _tree("".join(lines), code.co_filename)
    node = _lambda(tree, code) if code.co_name == "<lambda>" else _find(tree, code.co_name, code.co_firstlineno)
    if node is None:
        raise untraceable("L0710", at, f"`{inner.__qualname__}` is not found in {code.co_filename}")
    if isinstance(node, ast.AsyncFunctionDef):
        raise untraceable("L0711", at, f"`{inner.__qualname__}` is async")
    return Source(node, code.co_filename, inner.__qualname__, outer_names(inner), inner)


def open_ended(function: Any) -> bool:
    """Whether a function takes arguments of any name or number."""
    kinds = [p.kind for p in parameters_of(function).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds or inspect.Parameter.VAR_POSITIONAL in kinds


def parameters_of(function: Callable[..., Any]) -> inspect.Signature:
    """What the function itself takes: a decorator's wrapper has the parameters of what it wraps only by name."""
    return inspect.signature(function, follow_wrapped=False)


def outer_names(function: FunctionType) -> dict[str, Any]:
    """Globals of a function under its closure's cells."""
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:
            continue
    return {**function.__globals__, **cells}


@functools.lru_cache(maxsize=32)
def _tree(text: str, path: str) -> ast.Module | None:
    try:
        return parse(text, path)
    except SyntaxError:
        return None


def _lambda(tree: ast.Module | None, code: CodeType) -> ast.FunctionDef | None:
    """The lambda that `code` was compiled from, as a function of one statement."""
    names = list(code.co_varnames[: code.co_argcount])
    places = {(line, column) for line, _, column, _ in code.co_positions() if line and column}
    for node in ast.walk(tree) if tree else ():
        if not isinstance(node, ast.Lambda) or [a.arg for a in node.args.args] != names:
            continue
        body = node.body
        if any((n.lineno, n.col_offset) in places for n in ast.walk(body) if isinstance(n, ast.expr)):
            made = ast.FunctionDef("lambda", node.args, [ast.copy_location(ast.Return(body), body)], [], None)
            return ast.fix_missing_locations(ast.copy_location(made, node))
    return None


def _find(tree: ast.Module | None, name: str, first_line: int) -> Any:
    """The definition whose first line (that of its first decorator) is `first_line`."""
    if tree is None:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first_line in (start, node.lineno):
                return node
    return None
