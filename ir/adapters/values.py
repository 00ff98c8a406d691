"""Text of values and values of text, shared by the adapters."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from lampc.ir.sources import literal
from lampc.ir.types import BOOL, FLOAT, INT, STR, Choice, ListOf, Maybe, Record, Scalar, Type, mismatch, spelled


class Uncastable(Exception):
    """A text does not hold a value of the wanted type."""


_NUMBER = re.compile(r"[-+]?[\d,_]*+(?:\.\d++|(?<=\d))(?:[eE][-+]?\d++)?")
_BULLET = re.compile(r"^[^\S\n]*+(?:[-*]|\d++[.)])\s++(.*)$", re.MULTILINE)
"""Both without backtracking: a model may write the same sign ten thousand times."""


class RepeatedKey(ValueError):
    """A JSON object has a key twice."""


def read_json(text: str, *, repeats: bool = False) -> Any:
    """A JSON value. Raises ValueError, with what is wrong, for all else: `NaN` and numbers beyond floats, halves of
    surrogate pairs, and nesting or digits beyond what Python reads. A key that stands twice in an object is a
    RepeatedKey too, unless with `repeats` the last one counts."""
    pairs = None if repeats else _unique
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair") from None
    return value


def unwritable(value: Any, name: str, *, objects: bool = True) -> str | None:
    """Why a value cannot be written as JSON, or None if it can: `NaN`, infinite numbers and, unless `objects` is
    False, what is neither text, number, truth value, None, list nor dict. `name` is what the message calls it."""
    match value:
        case float():
            return None if math.isfinite(value) else f"`{name}` is {value}, which is no JSON value"
        case None | str() | int():
            return None
        case list() | tuple():
            inside = (unwritable(v, f"{name}[{i}]", objects=objects) for i, v in enumerate(value))
        case dict():
            odd = [k for k in value if objects and not isinstance(k, str | int | float | None)]
            if odd:
                return f"`{name}` has the key {odd[0]!r}; keys of JSON are texts"
            inside = (unwritable(v, f"{name}.{k}", objects=objects) for k, v in value.items())
        case _:
            return (
                f"`{name}` is a Python object of type {type(value).__name__}, which is no JSON value"
                if objects
                else None
            )
    return next(filter(None, inside), None)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = [k for k, _ in pairs]
        twice = next(k for i, k in enumerate(seen) if k in seen[:i])
        raise RepeatedKey(f"key `{twice[:80]}` stands twice in an object")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number


def cast(text: str, wanted: Type) -> Any:
    """Read a value of type `wanted` out of `text`. Raises Uncastable, saying why."""
    text = text.strip()
    if wanted == STR:
        return text
    if isinstance(wanted, Maybe):
        return None if text.lower() in ("", "none", "null", "n/a") else cast(text, wanted.item)
    if isinstance(wanted, Choice):
        return _choice(text, wanted)
    if wanted == BOOL:
        word = text.strip(".!\"'`").lower()
        if word in ("true", "yes"):
            return True
        if word in ("false", "no"):
            return False
        raise Uncastable(f"{text!r} is neither true nor false")
    if wanted in (INT, FLOAT):
        found = _NUMBER.fullmatch(text.strip("`\"' "))
        if not found:
            raise Uncastable(f"{text[:80]!r} is not a number")
        digits = found.group().replace(",", "").replace("_", "")
        if wanted == INT and digits.lstrip("+-").isdigit() and len(digits) < 1000:
            return int(digits)  # a float would lose digits of a large number
        number = float(digits)
        if not math.isfinite(number):
            raise Uncastable(f"{text[:80]!r} is too large a number")
        if wanted == FLOAT:
            return number
        if number != int(number):
            raise Uncastable(f"{text!r} is not a whole number")
        return int(number)
    return _json(text, wanted)


def _choice(text: str, wanted: Choice) -> str:
    bare = text.strip("`\"'. ")
    for option in wanted.options:
        if option in (text, bare):
            return option
    folded = [o for o in wanted.options if o.lower() == bare.lower()]
    if len(folded) == 1:
        return folded[0]
    raise Uncastable(f"{text!r} is none of {', '.join(wanted.options)}")


def _json(text: str, wanted: Type) -> Any:
    body = re.sub(r"\A```[a-z]*\n?|\n?```\Z", "", text)
    try:
        value = _literal(body)
    except ValueError:
        if isinstance(wanted, ListOf) and not isinstance(wanted.item, Record):
            items = _BULLET.findall(body)
            if items or not body:
                return [cast(i, wanted.item) for i in items]
        if wanted == Scalar("any"):
            return text
        raise Uncastable(f"{text[:80]!r} is not JSON for {spelled(wanted)}") from None
    if isinstance(wanted, ListOf) and not isinstance(value, list) and (items := _BULLET.findall(body)):
        return [cast(i, wanted.item) for i in items]  # one item that is a number is a bullet, not a sign
    why = mismatch(value, wanted)
    if why:
        raise Uncastable(why)
    return value


def _literal(text: str) -> Any:
    """A JSON value as JSON or as Python writes it (single quotes, True, None). Raises ValueError."""
    try:
        return read_json(text, repeats=True)  # a model's slip that its wanted type may well forgive
    except ValueError as e:
        try:
            return read_json(json.dumps(literal(text)))  # tuples are lists; sets and bytes are no JSON values
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise e from None


def plain(value: Any) -> str:
    """Text of a value: a string as it is, scalars as JSON writes them, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def hint(t: Type) -> str:
    """What to say to a model about the form of an output; empty for text."""
    match t:
        case Scalar("str") | Scalar("any"):
            return ""
        case Scalar("bool"):
            return "true or false"
        case Scalar(kind):
            return kind
        case Choice(options):
            return "one of: " + "; ".join(options)
        case Maybe(item):
            return (hint(item) + " or none").strip() if hint(item) else "may be none"
        case ListOf(item):
            return f"list of {_plain_name(item)}"
    return "JSON: " + _shape(t)


def _plain_name(t: Type) -> str:
    return str(t) if isinstance(t, Scalar) else hint(t) or "str"


def _shape(t: Type) -> str:
    match t:
        case Record(()):
            return "{...}"
        case Record(fields):
            return "{" + ", ".join(f'"{n}": {_shape(x)}' for n, x in fields) + "}"
        case ListOf(item):
            return f"[{_shape(item)}, ...]"
        case Choice(options):
            return " | ".join(json.dumps(o, ensure_ascii=False) for o in options)
    return str(t)
