"""The types of values: what a program's fields, lists and records are made of.

Types are frozen and compare by structure. Their text form (`str(type)`) is the one that `.lir` files use
and that `lampc.ir.text` parses back.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Type:
    """Base of all types."""

    def __str__(self) -> str:
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True, slots=True)
class Scalar(Type):
    """One of `str`, `int`, `float`, `bool`, `any` (any JSON value), `none` and `media` (see `lampc.ir.media`)."""

    kind: str

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True, slots=True)
class Choice(Type):
    """A closed set of strings: `choice["a", "b"]`. `host` as in `Record`: `choice "m:Mood"["a", "b"]`."""

    options: tuple[str, ...]
    host: str = ""

    def __str__(self) -> str:
        return f"choice{self.host and ' '}{_host(self)}[{', '.join(quoted(o) for o in self.options)}]"


@dataclass(frozen=True, slots=True)
class ListOf(Type):
    """A list of values of one type: `list[T]`."""

    item: Type

    def __str__(self) -> str:
        return f"list[{self.item}]"


@dataclass(frozen=True, slots=True)
class Maybe(Type):
    """A value that may be absent: `opt[T]`."""

    item: Type

    def __str__(self) -> str:
        return f"opt[{self.item}]"


@dataclass(frozen=True, slots=True)
class MapOf(Type):
    """Values by names that are not known before: `map[int]`, or `map[choice["a", "b"], int]` where keys are bounded.

    Keys are strings in the value, as in JSON; `key` says what they spell.
    """

    item: Type
    key: Type = Scalar("str")

    def __str__(self) -> str:
        return f"map[{self.item}]" if self.key == STR else f"map[{self.key}, {self.item}]"


@dataclass(frozen=True, slots=True)
class Record(Type):
    """Named fields in order: `{answer: str, hops: int}`; `{}` is a record of any fields.

    `host` names the Python class (`module:qualname`) whose objects such values are on the Python side:
    `"m:Passage"{title: str}`. It says nothing about the values themselves.
    """

    fields: tuple[tuple[str, Type], ...]
    host: str = ""

    def __str__(self) -> str:
        return _host(self) + "{" + ", ".join(f"{_field_name(n)}: {t}" for n, t in self.fields) + "}"

    def names(self) -> tuple[str, ...]:
        return tuple(n for n, _ in self.fields)

    def get(self, name: str) -> Type | None:
        """Type of field `name`, or None if there is no such field."""
        return next((t for n, t in self.fields if n == name), None)


@dataclass(frozen=True, slots=True)
class Context(Type):
    """A token prefix together with its KV: the values of `kv.*` ops."""

    def __str__(self) -> str:
        return "kv"


def _field_name(name: str) -> str:
    return name if _WORD.match(name) else quoted(name)


def quoted(text: str) -> str:
    """A name as types have it in their text."""
    return json.dumps(text, ensure_ascii=False)


def _host(t: Record | Choice) -> str:
    return quoted(t.host) if t.host else ""


STR, INT, FLOAT, BOOL = Scalar("str"), Scalar("int"), Scalar("float"), Scalar("bool")
ANY, NONE, MEDIA = Scalar("any"), Scalar("none"), Scalar("media")
KV = Context()
SCALARS: dict[str, Scalar] = {t.kind: t for t in (STR, INT, FLOAT, BOOL, ANY, NONE, MEDIA)}


def spelled(t: Type, inside: bool = False) -> str:
    """A type as people write it in programs (`float?`, `"a" | "b"`), for messages; `inside` of a larger type, where
    a choice needs parentheses. What the language has no words for is as in IR text."""
    match t:
        case ListOf(item):
            return f"list[{spelled(item)}]"
        case MapOf(item):
            return f"map[{spelled(item)}]"
        case Maybe(item):
            return spelled(item, True) + "?"
        case Record(fields):
            return "{" + ", ".join(f"{_field_name(n)}: {spelled(f)}" for n, f in fields) + "}"
        case Choice(options) if options:
            text = " | ".join(json.dumps(o, ensure_ascii=False) for o in options)
            return f"({text})" if inside and len(options) > 1 else text
    return str(t)


def assignable(source: Type, target: Type) -> bool:
    """Whether a value of type `source` may stand where `target` is expected.

    `any` goes both ways (it is checked at run time), an int is a float, a choice is a str and a wider
    choice, `none` and T are `opt[T]`; lists, maps and records follow their parts, whatever their host class is.
    """
    if source == target or ANY in (source, target):
        return True
    match source, target:
        case Scalar("int"), Scalar("float"):
            return True
        case Choice(), Scalar("str"):
            return True
        case Scalar("str"), Choice():
            return True  # checked at run time: a str may turn out to be one of the options
        case Choice(a), Choice(b):
            return set(a) <= set(b)
        case Maybe(a), Maybe(b):
            return assignable(a, b)
        case Scalar("none"), Maybe():
            return True
        case _, Maybe(b):
            return assignable(source, b)
        case (ListOf(a), ListOf(b)) | (MapOf(a), MapOf(b)):
            return assignable(a, b)
        case (Record(()), MapOf()) | (MapOf(), Record(())):
            return True
        case Record(a), MapOf(b):
            return all(assignable(t, b) for _, t in a)
        case (Record(()), Record()) | (Record(), Record(())):
            return True  # a record of no declared fields is any record: checked at run time
        case Record(a), Record(b):
            return len(a) == len(b) and all(n == m and assignable(s, t) for (n, s), (m, t) in zip(a, b, strict=True))
    return False


def possible(source: Type, target: Type) -> bool:
    """Whether some value of type `source` is one of type `target`: of an optional value only the run knows whether it
    is there, of a list what is in it."""
    if assignable(source, target):
        return True
    match source, target:
        case Maybe(a), _:
            return possible(a, target)
        case _, Maybe(b):
            return possible(source, b)
        case Choice(a), Choice(b):
            return bool(set(a) & set(b))
        case ListOf(), ListOf():
            return True
        case Record(a), MapOf(item):
            return all(possible(t, item) for _, t in a)
        case MapOf(), MapOf() | Record():
            return True
        case Record(a), Record(b):
            have = dict(a)
            return all(possible(have[n], t) if n in have else n in left_out(target) for n, t in b)
    return False


def join(types: list[Type]) -> Type:
    """The narrowest type that holds all of `types` (`any` if there is none better; `any` for no types)."""
    if not types:
        return ANY
    out = types[0]
    for t in types[1:]:
        if assignable(t, out):
            continue
        if assignable(out, t):
            out = t
        elif isinstance(out, Choice) and isinstance(t, Choice):
            out = Choice(tuple(dict.fromkeys(out.options + t.options)))
        elif NONE in (out, t):
            out = Maybe(t if out == NONE else out)
        elif isinstance(out, ListOf) and isinstance(t, ListOf):
            out = ListOf(join([out.item, t.item]))
        elif isinstance(out, MapOf) and isinstance(t, MapOf):
            out = MapOf(join([out.item, t.item]))
        else:
            return ANY
    return out


def type_of(value: Any) -> Type:
    """The type of a plain JSON value. Raises TypeError for anything else."""
    match value:
        case None:
            return NONE
        case bool():
            return BOOL
        case int():
            return INT
        case float():
            return FLOAT
        case str():
            return STR
        case list() | tuple():
            return ListOf(join([type_of(v) for v in value]))
        case dict():
            return Record(tuple((str(k), type_of(v)) for k, v in value.items()))
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def mismatch(value: Any, expected: Type) -> str | None:
    """Why plain `value` is not of type `expected`, or None if it is."""
    ok = True
    match expected:
        case Scalar("any"):
            return None
        case Scalar("media"):
            ok = is_media(value)
        case Scalar("none"):
            ok = value is None
        case Scalar("str"):
            ok = isinstance(value, str)
        case Scalar("bool"):
            ok = isinstance(value, bool)
        case Scalar("int"):
            ok = isinstance(value, int) and not isinstance(value, bool)
        case Scalar("float"):
            ok = isinstance(value, int | float) and not isinstance(value, bool)
        case Choice(options):
            ok = value in options
        case Maybe(item):
            return None if value is None else mismatch(value, item)
        case ListOf(item):
            ok = isinstance(value, list | tuple)
            if ok:
                return next((f"item {i}: {m}" for i, v in enumerate(value) if (m := mismatch(v, item))), None)
        case MapOf(item, key):
            ok = isinstance(value, dict)
            if ok:
                return next((f"key {k!r}: {m}" for k, v in value.items() if (m := _entry(k, v, key, item))), None)
        case Record(fields):
            from lampc.ir.hostvalues import is_default  # which knows types

            ok = isinstance(value, dict)
            if ok:
                for name, t in fields:
                    if name not in value:
                        if name not in left_out(expected):
                            return f"field `{name}` is missing"
                    elif (m := mismatch(value[name], t)) and not is_default(expected.host, name, value[name]):
                        return f"field `{name}`: {m}"
                return None
    return None if ok else f"expected {spelled(expected)}, got {value!r}"


def left_out(t: Record) -> frozenset[str]:
    """The fields that a value of a record may lack: optional ones, and those for which its class has a default."""
    from lampc.ir.hostvalues import defaults_of  # which knows types

    return defaults_of(t.host) | {n for n, found in t.fields if isinstance(found, Maybe)}


def _entry(name: Any, value: Any, key: Type, item: Type) -> str | None:
    """Why an entry of a map is none. A key is text that spells a value of the key's type."""
    if not isinstance(name, str):
        return f"keys are texts, got {name!r}"
    if key in (INT, FLOAT, BOOL):
        try:
            spelt = json.loads(name.lower())
        except ValueError:
            spelt = None
        if m := mismatch(spelt, key):
            return m
    elif key != STR and (m := mismatch(name, key)):
        return m
    return mismatch(value, item)


def is_media(value: Any) -> bool:
    """Whether a plain value stands for content that is no text: `{"$media": [part, ...]}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("$media"), list | tuple)
