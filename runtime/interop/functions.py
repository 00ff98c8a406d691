"""Functions and classes of a DSPy program, in which DSPy's names mean ours.

A function is not changed but made again, over a copy of its globals in which modules, classes and objects of DSPy
are replaced. Its code and file are the same, so the tracer finds its source and places errors at the user's lines.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from importlib import import_module
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

_DROPPED = frozenset({"__dict__", "__weakref__", "__module__", "__qualname__", "__doc__"})


class Names:
    """What names of one program mean. `convert` replaces values that are no functions, classes or Python modules."""

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self.convert = convert
        self._functions: dict[int, tuple[Any, FunctionType]] = {}
        self._globals: dict[int, dict[str, Any]] = {}
        self._busy: set[int] = set()

    def value(self, given: Any) -> Any:
        """A value that a name stands for: itself, if DSPy has no part in it."""
        if isinstance(given, ModuleType):
            return self._module(given)
        if isinstance(given, FunctionType):
            return self.function(given)
        if isinstance(given, types.MethodType):
            owner = self.convert(given.__self__)
            return getattr(owner, given.__name__, given) if owner is not given.__self__ else given
        if _is_dspy(given):
            return getattr(import_module("lampc"), getattr(given, "__name__", ""), given)
        return given

    def _module(self, given: ModuleType) -> Any:
        if given.__name__ == "dspy":
            return import_module("lampc")
        if given.__name__.startswith("dspy."):
            return _Within(given)
        return given

    def function(self, given: FunctionType) -> FunctionType:
        """A function in which DSPy's names mean ours; itself, if it has none of them."""
        if id(given) in self._functions:
            return self._functions[id(given)][1]
        if id(given) in self._busy or given.__module__ is None or given.__module__.startswith(("dspy.", "lampc.")):
            return given
        self._busy.add(id(given))
        try:
            used = _mentioned(given.__code__)
            outer = given.__globals__
            changed = {n: v for n in used if n in outer and (v := self.convert(outer[n])) is not outer[n]}
            cells = [self._cell(c) for c in given.__closure__ or ()]
            if not changed and all(a is b for a, b in zip(cells, given.__closure__ or (), strict=True)):
                made = given
            else:
                made = FunctionType(
                    given.__code__, {**outer, **changed}, given.__name__, given.__defaults__, tuple(cells) or None
                )
                made.__kwdefaults__ = given.__kwdefaults__
                made.__annotations__ = dict(given.__annotations__)
                made.__qualname__, made.__module__, made.__doc__ = given.__qualname__, given.__module__, given.__doc__
                made.__dict__.update(given.__dict__)
        finally:
            self._busy.discard(id(given))
        self._functions[id(given)] = (given, made)
        return made

    def _cell(self, cell: CellType) -> CellType:
        try:
            held = cell.cell_contents
        except ValueError:
            return cell
        made = self.convert(held)
        return cell if made is held else CellType(made)

    def rebuilt(self, kind: type, bases: tuple[type, ...]) -> type:
        """A class over other bases, its functions converted."""
        body = {n: self._member(v) for n, v in vars(kind).items() if n not in _DROPPED}
        made = types.new_class(kind.__name__, bases, {}, lambda ns: ns.update(body))
        made.__qualname__, made.__module__, made.__doc__ = kind.__qualname__, kind.__module__, kind.__doc__
        for name, member in vars(made).items():
            function = getattr(member, "__func__", member)
            if isinstance(function, FunctionType) and "__class__" in function.__code__.co_freevars:
                _retarget(made, name, member, kind)
        return made

    def _member(self, given: Any) -> Any:
        if isinstance(given, FunctionType):
            return self.function(given)
        if isinstance(given, staticmethod | classmethod):
            inner: Any = given.__func__
            return type(given)(self.function(inner))
        if isinstance(given, property):
            parts: tuple[Any, Any, Any] = (given.fget, given.fset, given.fdel)
            get, put, delete = (f and self.function(f) for f in parts)
            return property(get, put, delete)
        return self.convert(given)


def _retarget(made: type, name: str, member: Any, kind: type) -> None:
    """`super()` in a function means the class that it now belongs to."""
    function = getattr(member, "__func__", member)
    cells = list(function.__closure__)
    cells[function.__code__.co_freevars.index("__class__")] = CellType(made)
    again = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells)
    )
    again.__kwdefaults__, again.__qualname__ = function.__kwdefaults__, function.__qualname__
    setattr(made, name, type(member)(again) if member is not function else again)


class _Within:
    """A submodule of DSPy: its names that are ours too, all others as they are."""

    def __init__(self, given: ModuleType) -> None:
        self._given = given

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module("lampc"), name, None)
        return found if found is not None else getattr(self._given, name)


def _is_dspy(given: Any) -> bool:
    home = getattr(given, "__module__", None)
    return isinstance(home, str) and home.partition(".")[0] == "dspy" and hasattr(given, "__name__")


def _mentioned(code: CodeType) -> list[str]:
    """Global names in a function's code, those of inner functions too."""
    inner = [n for c in code.co_consts if isinstance(c, CodeType) for n in _mentioned(c)]
    return list(dict.fromkeys([*code.co_names, *inner]))
