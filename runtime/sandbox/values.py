"""Values on their way into a sandbox and out of it: JSON's, whatever they were."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from lampc.frontend.python.tools.interpreter import CodeInterpreterError

_DEPTH = 200


def inside(value: Any, depth: int = 0) -> Any:
    """A value as code in a sandbox gets it. Raises CodeInterpreterError for what JSON cannot say.

    Models and dataclasses are dicts, tuples and sets lists; what pydantic can write as JSON is that.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value if type(value) in (str, bool, int, float, type(None)) else _scalar(value)
    if depth > _DEPTH:
        raise CodeInterpreterError(f"a value is nested more than {_DEPTH} deep")
    if hasattr(value, "toDict"):
        value = value.toDict()
    elif hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {_key(k): inside(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [inside(v, depth + 1) for v in value]
    if isinstance(value, set | frozenset):
        return [inside(v, depth + 1) for v in _ordered(value)]
    return inside(_jsonable(value), depth + 1)


def outside(value: Any, depth: int = 0) -> Any:
    """What code gave, as JSON's types; what has none is its text."""
    if value is None or type(value) in (str, bool, int, float):
        return value
    if depth > _DEPTH:
        return "..."
    if isinstance(value, dict):
        return {k if type(k) is str else str(k): outside(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [outside(v, depth + 1) for v in value]
    if isinstance(value, set | frozenset):
        return [outside(v, depth + 1) for v in _ordered(value)]
    return str(value)


def heavier(value: Any, most: int) -> bool:
    """Whether a value of JSON's types has more than about `most` characters as text."""
    waiting, left = [value], most
    while waiting and left >= 0:
        at = waiting.pop()
        if isinstance(at, dict):
            left -= 2 * len(at)
            waiting += (*at.keys(), *at.values())
        elif isinstance(at, list):
            left -= 2 * len(at)
            waiting += at
        else:
            left -= len(at) if isinstance(at, str) else at.bit_length() // 3 if isinstance(at, int) else 4
    return left < 0


def _ordered(value: set[Any] | frozenset[Any]) -> list[Any]:
    """Members in an order that does not depend on hashes."""
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=lambda v: (type(v).__name__, repr(v)))


def _key(key: Any) -> Any:
    return key if isinstance(key, str | int | float | bool) or key is None else str(key)


def _scalar(value: Any) -> Any:
    """A subclass of a plain type (an enum's member, a tagged text) as that type."""
    if hasattr(value, "value") and hasattr(value, "name"):
        return inside(value.value)
    plain = next(t for t in (str, bool, int, float) if isinstance(value, t))
    return plain(value)


def _jsonable(value: Any) -> Any:
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        made = to_jsonable_python(value)
    except PydanticSerializationError:
        made = value
    if made is value or (isinstance(made, float) and math.isnan(made)):
        raise CodeInterpreterError(f"Unsupported value type: {type(value).__name__}")
    return made
