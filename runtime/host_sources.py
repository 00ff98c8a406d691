"""Identity of the user's Python: a function's own source is not enough, what it calls may change too."""

from __future__ import annotations

import ast
import contextlib
import enum
import functools
import hashlib
import importlib.util
import inspect
import json
import re
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from lampc.frontend.python.module import Module
from lampc.frontend.python.program import Program
from lampc.frontend.python.tools.tool import Tool
from lampc.frontend.python.tracing import mentioned
from lampc.frontend.python.values.foreign import accepts, adapter
from lampc.ir.hostref import host_ref
from lampc.ir.hostvalues import HostClass
from lampc.ir.sources import parse, source_of

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
    return _code(function, host_ref(function).target)


def _code(function: Callable[..., Any], name: str) -> str:
    total = hashlib.blake2b(f"{name} {host_ref(function).source}".encode(), digest_size=16)
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
    return module_identity(program) if isinstance(program, Module) else host_identity(entry)


def class_identity(host: HostClass) -> str:
    """Changes when a class whose objects are values of a program changes, one of the project that it inherits from, or
    a default, or a function that checks its values: what its fields are is in the program's text, what it checks,
    computes and fills in is not. What such functions call is not seen."""
    said = _ADDRESS.sub("", _unordered(dict(host.fixed)))
    total = hashlib.blake2b(f"{host.cls.__module__}.{host.cls.__qualname__} {said}".encode(), digest_size=16)
    for part in (*host.cls.__mro__, *_called_for(host.cls)):
        total.update(_own_source(part).encode())
    return total.hexdigest()


def _own_source(part: Any) -> str:
    """The source of a class or function of the project; "" of others."""
    if _project_file(sys.modules.get(part.__module__)) is not None:
        # made by code, it has no source; the file may have been edited since it was loaded
        with contextlib.suppress(OSError, TypeError, SyntaxError):
            return source_of(part)
    return ""


def _called_for(cls: type) -> list[Any]:
    """Functions that pydantic calls for values of a class: those of `Annotated` stand outside of it."""
    found: dict[int, Any] = {}
    seen: dict[int, Any] = {}
    waiting = [*adapter(cls).core_schema.values()] if not issubclass(cls, enum.Enum) and accepts(cls) else []
    while waiting:
        part = waiting.pop()
        part = part.__func__ if inspect.ismethod(part) else part
        if inspect.isfunction(part):
            found[id(part)] = part
        elif isinstance(part, dict | list | tuple) and id(part) not in seen:
            seen[id(part)] = part
            waiting += part.values() if isinstance(part, dict) else part
    return sorted(found.values(), key=_own_source)


def _unordered(value: Any) -> str:
    """Plain values as a text. Lists are sorted: those that were sets are in another order in each process."""
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{_unordered(k)}: {_unordered(v)}' for k, v in value.items()))}}}"
    if isinstance(value, list):
        return f"[{', '.join(sorted(map(_unordered, value)))}]"
    return json.dumps(value, default=str)


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Where an object lies says nothing of it."""


def tool_identity(called: Callable[..., Any]) -> str:
    """Identity of what a tool calls; that of programs and modules has what their predictors were told."""
    program = getattr(called, "__lampc_called__", called)
    return code_identity(program) if isinstance(program, Program | Module) else host_identity(called)


def module_identity(program: Module, inside: tuple[int, ...] = ()) -> str:
    """Identity of the code of a module and of those in it, and of what they hold beside predictors. `inside`: what is
    around."""
    total = hashlib.blake2b(digest_size=16)
    for name, module in program.named_sub_modules():
        total.update(f"{name} {type(module).__module__}.{type(module).__qualname__}\n".encode())
        if not type(module).__module__.startswith("lampc."):
            for method in ("forward", "aforward", "__call__"):
                function = getattr(type(module), method)
                total.update(host_identity(function).encode() if not _ours(function) else b"-")
        for key, value in sorted(vars(module).items()):
            if key not in _LEARNT:
                total.update(f"{key} {_held(value, (*inside, id(module)))}\n".encode())
    return total.hexdigest()


_LEARNT = ("signature", "demos", "lm", "traces", "train", "callbacks", "history", "_calls", "loc", "serial", "symbol")
"""Attributes of modules that are parameters, known from the graph, or no part of what a program does."""


def _ours(function: Callable[..., Any]) -> bool:
    return str(getattr(function, "__module__", "")).startswith("lampc.")


def code_identity(code: Any) -> str:
    """Identity of a function or of an object that is called, with the values that it holds: those of a bound method's
    object, of a `partial`, of closures, defaults and module variables (but for lists, dicts and sets), of attributes.

    What says nothing of itself, having no plain values, counts as another thing in every process: an object may say by
    a text `identity` what its answers depend on.
    """
    return hashlib.blake2b(_held(code).encode(), digest_size=16).hexdigest()


def _held(value: Any, inside: tuple[int, ...] = ()) -> str:
    """What a value is equal by, as a text; modules in modules are looked at in their turn. `inside`: what is around."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if id(value) in inside:
        return "itself"
    inside = (*inside, id(value))
    if isinstance(value, Module):
        return "module" if inside[:-1] else _of_module(value, ())
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}[{', '.join(_held(v, inside) for v in value)}]"
    if isinstance(value, set | frozenset):
        return f"set[{', '.join(sorted(_held(v, inside) for v in value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_held(k, inside)}: {_held(v, inside)}' for k, v in value.items())}}}"
    if isinstance(value, functools.partial):
        return f"partial {_held([value.func, value.args, value.keywords], inside)}"
    if isinstance(value, Program):
        return _of_program(value, inside)
    if isinstance(value, Tool):
        return f"{value.name} {_held(value.func, inside)}"
    if (function := getattr(value, "__func__", None)) is not None:
        return f"{_held(function, inside)} of {_held(value.__self__, inside)}"
    if hasattr(value, "__code__"):
        return _of_function(value, inside)
    return _of_object(value, inside)


def _of_function(function: Any, inside: tuple[int, ...]) -> str:
    # lists and the like that a function closes over are often where it notes something, so they say nothing of it
    cells = [
        c.cell_contents for c in function.__closure__ or () if _filled(c) and not isinstance(c.cell_contents, _FILLED)
    ]
    names = [n for n in function.__code__.co_names if isinstance(function.__globals__.get(n), _PLAIN)]
    parts = [cells, function.__defaults__, function.__kwdefaults__, {n: function.__globals__[n] for n in names}]
    # a closure is another function each time it is made, and what it holds says whether it is another one here
    return f"{_code(function, function.__qualname__)} {_held(parts, inside)}"


def _of_object(value: Any, inside: tuple[int, ...]) -> str:
    said = getattr(value, "identity", None)
    if isinstance(said, str) and said:
        return said
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    own = getattr(value, "__dict__", None)
    if own is None or len(inside) > _DEEP or not hasattr(type(value).__init__, "__code__"):
        return f"{name} {getattr(value, '__qualname__', '') or hex(id(value))}"
    call = vars(type(value)).get("__call__")
    code = host_identity(call) if hasattr(call, "__code__") else ""
    return f"{name} {code} {_held(dict(own), inside)}"


def _of_module(module: Module, inside: tuple[int, ...]) -> str:
    return f"{host_identity(type(module).forward)} {_held(module.dump_state())} {module_identity(module, inside)}"


def _of_program(program: Program, inside: tuple[int, ...]) -> str:
    function = program.function
    named = list(mentioned(function))
    modules = [(name, m) for name, m in named if isinstance(m, Module) and id(m) not in inside]
    held = [f"{name} {_of_module(m, inside)}" for name, m in modules]
    tools = [t for _, t in named if isinstance(t, Tool)]
    return f"{_code(function, function.__qualname__)} {held} {_held(tools, inside)}"


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


_DEEP = 6
"""Objects within objects that are looked into."""
_PLAIN = (bool, int, float, str, bytes, tuple, frozenset)
_FILLED = (list, dict, set, bytearray)


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
        tree = parse(path.read_text(encoding="utf-8"))
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
