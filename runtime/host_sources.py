"""Identity of the user's Python: a function's own source is not enough, what it calls may change too."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from lampc.frontend.python.module import Module
from lampc.frontend.python.program import Program
from lampc.frontend.python.tools.tool import Tool
from lampc.ir.hostref import host_ref

_INSTALLED = tuple(
    Path(path).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_path(name))
)
_MOST = 500
"""Modules looked at; a project with more changes identity only with the first of them."""


def host_identity(function: Callable[..., Any]) -> str:
    """Changes when the function, its module's file, or a project module that this one imports changes.

    Project modules are those that are neither in the standard library nor installed nor lampc's own; imports are
    followed through modules that are loaded in this process. What is imported later by name, and data files, are not
    seen.
    """
    ref = host_ref(function)
    total = hashlib.blake2b(f"{ref.target} {ref.source}".encode(), digest_size=16)
    for path in project_files(inspect.unwrap(function).__module__):
        total.update(_bytes(path, path.stat().st_mtime_ns))
    return total.hexdigest()


def entry_identity(entry: Callable[..., Any]) -> str:
    """Identity of a program that runs as plain Python: of its code, and of what its modules hold beside predictors.

    The same in another process, unless a module holds an object that says nothing of itself.
    """
    program = getattr(entry, "__lampc_program__", None)
    if isinstance(program, Program):
        return host_identity(program.function)
    if not isinstance(program, Module):
        return host_identity(entry)
    total = hashlib.blake2b(digest_size=16)
    for name, module in program.named_sub_modules():
        total.update(f"{name} {type(module).__module__}.{type(module).__qualname__}\n".encode())
        if not type(module).__module__.startswith("lampc."):
            for method in ("forward", "aforward", "__call__"):
                function = getattr(type(module), method)
                total.update(host_identity(function).encode() if not _ours(function) else b"-")
        for key, value in sorted(vars(module).items()):
            if key not in _LEARNT:
                total.update(f"{key} {_held(value)}\n".encode())
    return total.hexdigest()


_LEARNT = ("signature", "demos", "lm", "traces", "train", "callbacks", "history", "_calls", "loc", "serial", "symbol")
"""Attributes of modules that are parameters, known from the graph, or no part of what a program does."""


def _ours(function: Callable[..., Any]) -> bool:
    return str(getattr(function, "__module__", "")).startswith("lampc.")


def _held(value: Any) -> str:
    """What a value is equal by, as a text; a module's own are looked at in its turn."""
    if isinstance(value, Module):
        return "module"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_held, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k!r}: {_held(v)}' for k, v in value.items())}}}"
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    function = getattr(value, "__func__", value)
    if hasattr(function, "__code__"):
        return host_identity(function)
    if isinstance(value, Tool):
        return f"{value.name} {host_identity(value.func)}"
    said = getattr(value, "identity", None)
    return said if isinstance(said, str) and said else f"{type(value).__qualname__} {id(value):x}"


@functools.lru_cache(_MOST)
def _bytes(path: Path, changed: int) -> bytes:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()


def project_files(name: str) -> list[Path]:
    """Files of a module and of the project modules that it imports, directly or not; sorted."""
    found: dict[str, Path] = {}
    waiting = [name]
    while waiting and len(found) < _MOST:
        current = waiting.pop()
        path = _project_file(sys.modules.get(current))
        if current in found or path is None:
            continue
        found[current] = path
        waiting += _imports(path, path.stat().st_mtime_ns, sys.modules[current].__package__ or "")
    return sorted(set(found.values()))


def _project_file(module: ModuleType | None) -> Path | None:
    if module is None or module.__name__.split(".")[0] == "lampc" or not getattr(module, "__file__", None):
        return None
    path = Path(str(module.__file__)).resolve()
    if path.suffix != ".py" or not path.is_file() or any(path.is_relative_to(root) for root in _INSTALLED):
        return None
    return path


@functools.lru_cache(_MOST)
def _imports(path: Path, changed: int, package: str) -> tuple[str, ...]:
    """Names of modules that the file's import statements may load; packages on the way included."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return ()  # it was edited since it was loaded; its bytes are in the identity all the same
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = _absolute(node, package)
            names = [start, *(f"{start}.{alias.name}" for alias in node.names)] if start else []
        else:
            continue
        for name in names:
            parts = name.split(".")
            found += [".".join(parts[: i + 1]) for i in range(len(parts))]
    return tuple(found)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    relative = "." * node.level + (node.module or "")
    try:
        return importlib.util.resolve_name(relative, package)
    except ImportError:
        return ""
