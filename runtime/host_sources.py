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
