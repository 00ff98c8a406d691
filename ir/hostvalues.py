"""Values whose type names a Python class (`Record.host`, `Choice.host`): what the class makes of them.

The IR knows classes by name alone. Whoever reads an annotation registers the class's face here, so that a parser can
ask the class whether it takes a value, and a value can become an object where it leaves the program for Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lampc.ir.types import ANY, Choice, ListOf, MapOf, Maybe, Record, Type, mismatch, quoted


@dataclass(frozen=True, slots=True)
class HostClass:
    """`lift` makes an object of a plain value (raising ValueError, with the reason, for one it does not take), `lower`
    makes a plain value of an object. `defaults` are the fields that a value may leave out, `fixed` the plain
    values of defaults that no factory makes; they may be of another type than their field (`n: int = None`)."""

    cls: type
    lift: Callable[[Any], Any]
    lower: Callable[[Any], Any]
    defaults: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=dict)


_LIVE: dict[str, HostClass] = {}


def host_name(cls: type) -> str:
    """The name of a class in types: `module:qualname`; classes made inside of functions get one each."""
    name = f"{cls.__module__}:{cls.__qualname__}"
    known = _LIVE.get(name)
    return name if known is None or known.cls is cls else f"{name}#{id(cls):x}"


def register(host: HostClass) -> str:
    """Let values of this class be lifted and lowered; gives its name."""
    name = host_name(host.cls)
    _LIVE.setdefault(name, host)
    return name


def host_class(name: str) -> HostClass | None:
    """The class of this process that `name` stands for, or None."""
    return _LIVE.get(name)


def classes_named(text: str) -> list[HostClass]:
    """The classes of this process that a module's text names."""
    return [host for name, host in sorted(_LIVE.items()) if quoted(name) in text]


def lifted(value: Any, type: Type) -> Any:
    """A plain value with objects in the place of what their classes stand for; classes that are not known here are
    left as they are. Raises ValueError for what a class does not take."""
    match type:
        case Record(host=name) | Choice(host=name) if name:
            host = _LIVE.get(name)
            return value if host is None or value is None else host.lift(value)
        case Record(fields) if isinstance(value, dict):
            inner = {n: lifted(value[n], t) for n, t in fields if n in value}
            return {**value, **inner}
        case ListOf(item) if isinstance(value, list):
            return [lifted(v, item) for v in value]
        case MapOf(item) if isinstance(value, dict):
            return {k: lifted(v, item) for k, v in value.items()}
        case Maybe(item):
            return None if value is None else lifted(value, item)
    return value


def defaults_of(name: str) -> frozenset[str]:
    """The fields that a value of this class may leave out; none of a class that is not known here."""
    host = _LIVE.get(name)
    return host.defaults if host is not None else frozenset()


def is_default(host: str, name: str, value: Any) -> bool:
    """Whether a field's value is the default that its class has for it, whatever the field's type."""
    fixed = _LIVE[host].fixed if host in _LIVE else {}
    return name in fixed and same(value, fixed[name])


def same(value: Any, default: Any) -> bool:
    """Whether a plain value is a default: `False` is not 0, which prompts show in another way."""
    return type(value) is type(default) and bool(value == default)


def without_odd_defaults(value: Any, type: Type) -> Any:
    """The plain value without defaults that are not of their field's type: a class that checks what it is given does
    not take them, and has them itself."""
    match type:
        case Record(fields, host) if isinstance(value, dict):
            types = dict(fields)
            odd = {n for n, v in value.items() if n in types and is_default(host, n, v) and mismatch(v, types[n])}
            kept = {n: v for n, v in value.items() if n not in odd}
            return {n: without_odd_defaults(v, types.get(n, ANY)) for n, v in kept.items()}
        case ListOf(item) if isinstance(value, list):
            return [without_odd_defaults(v, item) for v in value]
        case MapOf(item) if isinstance(value, dict):
            return {k: without_odd_defaults(v, item) for k, v in value.items()}
        case Maybe(item):
            return without_odd_defaults(value, item)
    return value


def completed(value: Any, type: Type) -> Any:
    """The plain value with the fields that it leaves out as their classes have them; what a class does not take is
    left as it is."""
    match type:
        case Record(fields, name) if isinstance(value, dict):
            value = {**value, **{n: completed(value[n], t) for n, t in fields if n in value}}
            if name not in _LIVE or all(n in value or n not in _LIVE[name].defaults for n, _ in fields):
                return value
            try:
                whole = _LIVE[name].lower(_LIVE[name].lift(value))
            except Exception:  # it is code of whoever wrote the class: one row's value is not to end all rows
                return value
            if not isinstance(whole, dict):  # the class writes itself in another way
                return value
            return {**{n: completed(whole[n], t) for n, t in fields if n in whole and n not in value}, **value}
        case ListOf(item) if isinstance(value, list):
            return [completed(v, item) for v in value]
        case MapOf(item) if isinstance(value, dict):
            return {k: completed(v, item) for k, v in value.items()}
        case Maybe(item):
            return completed(value, item)
    return value


def settled(value: Any, type: Type) -> Any:
    """The plain value as the classes in its type have it (defaults filled in, validators run). Raises ValueError."""
    match type:
        case Record(host=name) if name and name in _LIVE and value is not None:
            host = _LIVE[name]
            return host.lower(host.lift(value))
        case Record(fields) if isinstance(value, dict):
            return {**value, **{n: settled(value[n], t) for n, t in fields if n in value}}
        case ListOf(item) if isinstance(value, list):
            return [settled(v, item) for v in value]
        case MapOf(item) if isinstance(value, dict):
            return {k: settled(v, item) for k, v in value.items()}
        case Maybe(item):
            return None if value is None else settled(value, item)
    return value


def hosts_of(type: Type) -> tuple[str, ...]:
    """Names of the Python classes that values of a type become where they leave a program, outermost only."""
    match type:
        case Record(host=name) | Choice(host=name) if name:
            return (name,)
        case Record(fields):
            return tuple(n for _, t in fields for n in hosts_of(t))
        case ListOf(item) | MapOf(item) | Maybe(item):
            return hosts_of(item)
    return ()


def has_hosts(type: Type) -> bool:
    """Whether a type names a Python class."""
    return bool(hosts_of(type))
