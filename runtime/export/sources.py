"""The user's own Python functions as source text that stands alone: with what they mention of their module."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from lampc.ir.sources import literal, parse, source_of
from lampc.runtime.export.errors import NotExportable

_PLAIN = (str, int, float, bool, bytes, type(None), list, tuple, dict, set, frozenset)


class Sources:
    """Collects functions: `imports` and `texts` are what the file has to hold, in order."""

    def __init__(self) -> None:
        self.imports: list[str] = []
        self.texts: list[str] = []
        self._names: dict[int, str] = {}
        self._values: dict[str, Any] = {}
        self._held: list[Any] = []

    @property
    def names(self) -> set[str]:
        """What the file's top level is going to call things."""
        return {*self._values, *(line.split()[-1].partition(".")[0] for line in self.imports)}

    def add(self, function: Callable[..., Any], where: str = "") -> str:
        """Take a function in; gives the expression that calls for it. Raises NotExportable."""
        inner: Any = inspect.unwrap(getattr(function, "func", None) or getattr(function, "function", None) or function)
        if id(inner) in self._names:
            return self._names[id(inner)]
        module = getattr(inner, "__module__", "") or ""
        name = getattr(inner, "__qualname__", "")
        if isinstance(inner, BuiltinFunctionType) or (not isinstance(inner, FunctionType) and isinstance(inner, type)):
            return self._builtin(inner, module, name, where)
        if not isinstance(inner, FunctionType):
            raise NotExportable(f"`{name or inner!r}` is no plain function", where)
        if _installed(module):
            self._import(f"import {module}")
            return f"{module}.{name}"
        return self._own(inner, where)

    def _builtin(self, inner: Any, module: str, name: str, where: str) -> str:
        if module == "builtins":
            return name
        if not _installed(module):
            raise NotExportable(f"the class `{name}`", where)
        self._import(f"import {module}")
        return f"{module}.{name}"

    def _own(self, function: FunctionType, where: str) -> str:
        try:
            text = textwrap.dedent(source_of(function))
        except (OSError, TypeError):
            raise NotExportable(f"`{function.__qualname__}`, whose source cannot be read", where) from None
        name = function.__name__
        if name == "<lambda>":
            raise NotExportable("a lambda; give the function a name", where)
        if function.__closure__:
            free = ", ".join(function.__code__.co_freevars)
            raise NotExportable(f"`{name}`, a closure over {free}; write it at the top of its file", where)
        if name in self._values and self._values[name] is not function:
            raise NotExportable(f"two different things called `{name}`; rename one", where)
        self._names[id(function)], self._values[name] = name, function
        self._held.append(function)
        for mentioned in [*_of_defaults(text), *_mentioned(function.__code__)]:
            if mentioned in function.__globals__ and mentioned != name:
                self._value(mentioned, function.__globals__[mentioned], f"{where} ({name})")
        self.texts.append(_bare(text))
        return name

    def _value(self, name: str, value: Any, where: str) -> None:
        """A global that a function mentions."""
        if name in self._values:
            if self._values[name] is not value and self._values[name] != value:
                raise NotExportable(f"two different things called `{name}`; rename one", where)
            return
        if isinstance(value, ModuleType):
            if value.__name__.partition(".")[0] == "lampc":
                raise NotExportable(f"`{name}`, a module of lampc", where)
            self._values[name] = value
            self._import(f"import {value.__name__}" + (f" as {name}" if name != value.__name__ else ""))
        elif isinstance(value, FunctionType) and not _installed(value.__module__ or ""):
            self.add(value, where)
        elif callable(value) and _installed(getattr(value, "__module__", None) or ""):
            self._values[name] = value
            own = value.__qualname__
            self._import(f"from {value.__module__} import {own}" + (f" as {name}" if name != own else ""))
        elif isinstance(value, _PLAIN) and _readable(value):
            self._values[name] = value
            self.texts.append(f"{name} = {value!r}")
        elif hasattr(value, "func") or hasattr(value, "function"):
            self.add(value, where)
        else:
            raise NotExportable(f"`{name}` of type {type(value).__name__}, which a function uses", where)

    def _import(self, line: str) -> None:
        if line not in self.imports:
            self.imports.append(line)


def _bare(text: str) -> str:
    """A function without its decorators (`@lampc.tool` and the like). Annotations stay: the file never evaluates
    them."""
    tree = parse(text)
    node = tree.body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    lines = text.splitlines()
    return "\n".join(lines[node.lineno - 1 : node.end_lineno])


def _of_defaults(text: str) -> list[str]:
    """Names in the defaults of a function's parameters, which stand outside of its code."""
    node = parse(text).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    given = [d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]
    return [n.id for d in given for n in ast.walk(d) if isinstance(n, ast.Name)]


def _readable(value: Any) -> bool:
    try:
        return bool(literal(repr(value)) == value)
    except (ValueError, SyntaxError):
        return False


def _installed(module: str) -> bool:
    """Whether a module is the standard library's or an installed package's: the file may import it."""
    import sys
    import sysconfig
    from pathlib import Path

    if module.partition(".")[0] == "lampc":
        return False  # its functions are copied like the user's own
    if module in sys.builtin_module_names or module.partition(".")[0] in sys.stdlib_module_names:
        return module != "__main__"
    found = sys.modules.get(module)
    path = getattr(found, "__file__", None)
    if path is None:
        return False
    roots = {sysconfig.get_path(n) for n in ("purelib", "platlib")}
    return any(Path(path).is_relative_to(r) for r in roots if r)


def _mentioned(code: CodeType) -> list[str]:
    inner = [n for c in code.co_consts if isinstance(c, CodeType) for n in _mentioned(c)]
    return list(dict.fromkeys([*code.co_names, *inner]))
