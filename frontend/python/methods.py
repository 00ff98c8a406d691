"""Built-in functions and methods of texts, lists and records on values that are only known at run time."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from lampc.frontend.python.base import Base
from lampc.frontend.python.liveness import MUTATORS as CHANGING
from lampc.frontend.python.loops import walked
from lampc.frontend.python.traced import Completions, Local, Traced, WithIndex, is_static
from lampc.ir import HostRef, prog
from lampc.ir.builtins import BUILTINS
from lampc.ir.hostvalues import has_hosts
from lampc.ir.types import ANY, BOOL, FLOAT, INT, STR, Choice, ListOf, MapOf, Record, Type, spelled

_DIRECT = {
    "lower": 0, "upper": 0, "strip": 0, "startswith": 1, "endswith": 1, "count": 1, "replace": 2,
}  # fmt: skip
_TEXT_RESULTS: dict[str, Type] = {
    **dict.fromkeys(("find", "rfind", "index", "rindex", "count"), INT),
    **dict.fromkeys(
        ("isalpha", "isdigit", "isalnum", "isspace", "isupper", "islower", "istitle", "isnumeric", "isdecimal"), BOOL
    ),
    **dict.fromkeys(("splitlines", "partition", "rpartition", "rsplit", "split"), ListOf(STR)),
}


def traced(t: Any, receiver: Any, name: str, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    """`receiver.name(*args, **kwargs)` where something of it is only known at run time."""
    if isinstance(receiver, Completions):
        receiver = Traced(t.first(receiver, node))
    if not isinstance(receiver, Traced | str | list | dict | tuple):
        raise t.stop("L0712", node, f"method `{name}` of this value")
    own = receiver.type if isinstance(receiver, Traced) else None
    if isinstance(receiver, dict) or isinstance(own, Record):
        return _record(t, receiver, name, args, kwargs, node)
    if name in CHANGING:
        raise t.stop("L0715", node, f"`.{name}` of something that is not a name of this function")
    if kwargs:
        raise t.stop("L0712", node, f"method `{name}` with named arguments")
    if name == "join" and len(args) == 1:
        return _join(t, receiver, args[0], node)
    if name == "split" and len(args) <= 1 and not (args and args[0] is None):
        return t.apply("split", receiver, *args, node=node)
    if _DIRECT.get(name) == len(args):
        return t.apply(name, receiver, *args, node=node)
    if own is not None and has_hosts(own) and not isinstance(own, ListOf | MapOf):
        raise t.stop("L0712", node, f"method `{name}` of an object of a class")
    text = own == STR or isinstance(own, Choice) or isinstance(receiver, str)
    if (text or own == ANY) and callable(getattr(str, name, None)) and not name.startswith("_"):
        return t.host(f"builtins:str.{name}", [receiver, *args], node, _TEXT_RESULTS.get(name, STR) if text else ANY)
    if name in ("index", "copy") and (isinstance(own, ListOf) or isinstance(receiver, list | tuple)):
        return t.host(f"builtins:list.{name}", [receiver, *args], node, INT if name == "index" else own or ANY)
    open_ = own == ANY or isinstance(own, MapOf)
    if name == "get" and open_ and 1 <= len(args) <= 2:
        return t.apply("get", receiver, *args, *([None] if len(args) == 1 else []), node=node)
    if name == "toDict" and open_:
        return receiver
    if name in ("keys", "values", "items") and isinstance(own, MapOf) and not args:
        return t.apply(name, receiver, node=node)
    raise t.stop("L0712", node, f"method `{name}` of a value of type {own or type(receiver).__name__}")


def _record(t: Any, receiver: Any, name: str, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    names = list(receiver) if isinstance(receiver, dict) else list(receiver.type.names())

    def get(key: str) -> Any:
        return receiver[key] if isinstance(receiver, dict) else t.get(receiver, key, node)

    match name, args:
        case ("keys", []):
            return names
        case ("values", []):
            return [get(n) for n in names]
        case ("items", []):
            return [(n, get(n)) for n in names]
        case ("toDict" | "copy", []):
            if kwargs:
                return t.pack({**{n: get(n) for n in names}, **kwargs}, node)
            return {n: get(n) for n in names} if name == "toDict" else receiver
        case ("get", [str() as key, *default]):
            return get(key) if key in names else default[0] if default else None
        case ("get", [key, *default]) if isinstance(key, Traced):
            return t.apply("get", receiver, key, *(default or [None]), node=node)
        case ("without", keys) if is_static(keys):
            return t.pack({n: get(n) for n in names if n not in keys}, node)
    raise t.stop("L0712", node, f"method `{name}` of a record")


def _join(t: Any, sep: Any, items: Any, node: ast.AST) -> Any:
    """Python joins texts only, so the built-in's own conversion never shows."""
    return t.apply("join", sep, items, node=node)


# -- functions ----------------------------------------------------------------------------------------------


def _symbolic(args: list[Any]) -> bool:
    return not is_static(args)


def _simple(fn: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(t: Base, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        if not _symbolic(args) and is_static(kwargs):
            try:
                return function(*args, **kwargs)
            except Exception as e:
                if kwargs:
                    raise t.stop("L0712", node, f"{type(e).__name__}: {e}") from None
        if kwargs:
            raise t.stop("L0712", node, f"`{function.__name__}` with named arguments")
        if any(isinstance(a, Local) for a in args):
            raise t.stop("L0712", node, f"`{function.__name__}` with a function")
        if fn in ("int", "float", "abs", "round") and isinstance(getattr(args[0], "type", None), Record):
            raise t.stop("L0712", node, f"`{function.__name__}` of a record of the program")
        least, most = BUILTINS[fn].arity
        if not least <= len(args) <= most:
            raise t.stop("L0712", node, f"`{function.__name__}` with {len(args)} arguments")
        return t.apply(fn, *args, node=node)

    return run


def _len(t: Base, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    value = args[0]
    if isinstance(value, tuple | list | dict):
        return len(value)
    return t.apply("len", value, node=node) if isinstance(value, Traced) else len(value)


def _str(t: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    if not args or is_static(args):
        return str(*args)
    value = t.lift(args[0], node)
    t.readable(value, node)
    if has_hosts(value.type):
        return t.host("builtins:str", [Traced(value)], node, STR)
    if value.type == STR or isinstance(value.type, Choice):
        return Traced(value)
    return t.apply("str" if value.type in (INT, FLOAT) else "pystr", Traced(value), node=node)


def _list(t: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    if not args:
        return []
    value = args[0]
    if isinstance(value, list | tuple | range | set | frozenset | dict):
        return list(value)
    if isinstance(value, str):
        return list(value)
    lifted = t.lift(value, node)
    if isinstance(lifted.type, ListOf):
        return Traced(lifted)
    return t.host("builtins:list", [Traced(lifted)], node, ListOf(STR if lifted.type == STR else ANY))


def _tuple(t: Base, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    value = args[0] if args else ()
    return tuple(value) if isinstance(value, list | tuple | range) else _list(t, args, kwargs, node)


def _dict(t: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    values: dict[str, Any] = dict(t.fields(args[0], node)) if args else {}
    values.update(kwargs)
    return values if is_static(values) else t.pack(values, node)


def _enumerate(t: Base, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    start = args[1] if len(args) > 1 else kwargs.get("start", 0)
    return WithIndex(walked(t, args[0], node), start)


def _zip(t: Base, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    if not any(isinstance(a, Traced | Completions | WithIndex) for a in args):
        return list(zip(*args, strict=bool(kwargs.get("strict", False))))
    if len(args) != 2 or kwargs:
        raise t.stop("L0712", node, "`zip` of other than two lists")
    return t.apply("zip", *args, node=node)


def _mapped(t: Base, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    raise t.stop("L0712", node, "`map` and `filter`", "write a comprehension")


def _isinstance(t: Base, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    value, kinds = args
    if not isinstance(value, Traced):
        return isinstance(value, kinds)
    if has_hosts(value.type):
        raise t.stop("L0712", node, "`isinstance` of an object of a class")
    known: dict[Type, type] = {STR: str, INT: int, FLOAT: float, BOOL: bool}
    actual = known.get(value.type) or (str if isinstance(value.type, Choice) else None)
    actual = actual or (list if isinstance(value.type, ListOf) else None)
    if actual is None or actual is float:
        raise t.stop("L0712", node, f"`isinstance` of a value of type {spelled(value.type)}")
    return issubclass(actual, kinds)


def _print(t: Base, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
    values = [t.lift(a, node) for a in [*args, *kwargs.values()]]
    t.emit(prog.Py, *values, node=node, ref=HostRef("builtins:print"), keywords=tuple(kwargs))
    return None


def _minmax(fn: str, function: Callable[..., Any]) -> Callable[..., Any]:
    simple = _simple(fn, function)

    def run(t: Base, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        if len(args) > 1 and _symbolic(args) and not kwargs:
            args = [Traced(t.emit(prog.MakeList, *(t.lift(a, node) for a in args), node=node).result)]
        return simple(t, args, kwargs, node)

    return run


BUILTIN_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    len: _len,
    str: _str,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    enumerate: _enumerate,
    zip: _zip,
    map: _mapped,
    filter: _mapped,
    isinstance: _isinstance,
    print: _print,
    max: _minmax("max", max),
    min: _minmax("min", min),
    reversed: _simple("reversed", lambda s: list(reversed(s))),
    **{f: _simple(f.__name__, f) for f in (int, float, bool, abs, round, sum, sorted, range, any, all)},
}
