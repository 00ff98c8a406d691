"""Python values as JSON, the way prompts write them and programs keep them."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import ItemsView, KeysView, Mapping, Sequence, ValuesView
from typing import Any

from lampc.frontend.python.values.foreign import dump, is_custom
from lampc.ir.media import media
from lampc.ir.types import ListOf, MapOf, Maybe, Record, Scalar, Type, is_media

_AS_IT_IS = (str, int, float, bool, type(None))
_LISTED = (Sequence, KeysView, ItemsView, ValuesView)


def plain(value: Any) -> Any:
    """A value as JSON: enum members as their values, tuples and sets as lists, objects as pydantic dumps them.

    Content that is no text becomes `{"$media": [part, ...]}`. What has no JSON of its own is its text, as in DSPy.
    """
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind in (list, tuple):
        return list(value) if set(map(type, value)) <= {str} else [_part(v) for v in value]
    if kind is dict:
        return value if is_media(value) else {_key(k): _part(v) for k, v in value.items()}
    if isinstance(value, enum.Enum):
        return plain(value.value)
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    if is_custom(kind):
        if hasattr(value, "lowered"):
            return plain(value.lowered())
        made = value.format()
        return media(made) if isinstance(made, list) else plain(made)
    if hasattr(value, "toDict"):
        return plain(value.toDict())
    if isinstance(value, set | frozenset):
        return [plain(v) for v in value]
    found = dump(value)
    if isinstance(found, float) and not math.isfinite(found):
        return str(value)
    return found if isinstance(found, str | int | float | list | dict | None) else str(value)


def _part(value: Any) -> Any:
    """A part of a list or dict: numbers that JSON does not have are null there, as pydantic writes them."""
    return None if type(value) is float and not math.isfinite(value) else plain(value)


def plain_in_text(value: Any) -> Any:
    """A value of a field of type `str` as JSON: examples, predictions and objects in a list are their text there, a
    tuple or set is its JSON."""
    kind = type(value)
    if hasattr(value, "toDict"):
        return str(value)
    if kind is list:
        return list(value) if set(map(type, value)) <= {str} else [_shown(v) for v in value]
    return json.dumps(plain(value), ensure_ascii=False) if kind in (tuple, set, frozenset) else plain(value)


def _shown(item: Any) -> Any:
    """An item of such a list: JSON and content stay what they are."""
    made = plain(item)
    if is_custom(type(item)) or (made == item and not isinstance(item, tuple)):
        return made
    return str(item)


def fitted(value: Any, wanted: Type) -> Any:
    """The value with lists in the place of other sequences where lists are wanted, and Python's numbers in the place
    of numpy's where numbers are: of ranges, deques, views of dicts, sequences of the user's own, and arrays and columns
    that know their list (those of numpy, torch and pandas)."""
    if type(value) in _AS_IT_IS:
        return value
    match wanted:
        case Maybe(item):
            return fitted(value, item)
        case Scalar("int" | "float" | "bool"):
            return value.tolist() if getattr(value, "shape", None) == () and hasattr(value, "tolist") else value
        case ListOf(item) if not isinstance(value, str | bytes | bytearray):
            if callable(tolist := getattr(value, "tolist", None)):
                value = tolist()
            return [fitted(v, item) for v in value] if isinstance(value, _LISTED) else value
        case MapOf(item) if type(value) is dict:
            return {k: fitted(v, item) for k, v in value.items()}
        case Record(fields) if type(value) is dict:
            types = dict(fields)
            return {k: fitted(v, types[k]) if k in types else v for k, v in value.items()}
    return value


def known_plain(value: Any) -> Any:
    """As `plain`, but what has no JSON of its own stays as it is, so that whoever cannot hold it can say so."""
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, list | tuple):
        return list(value) if set(map(type, value)) <= {str} else [known_plain(v) for v in value]
    if hasattr(value, "toDict"):
        return known_plain(value.toDict())
    if isinstance(value, dict):
        return {k: known_plain(v) for k, v in value.items()}
    return plain(value) if _is_modelled(value) else value


def _is_modelled(value: Any) -> bool:
    """Whether an object is of a kind that fields may have: a model, dataclass, enum member, set, date, ..."""
    return (
        isinstance(value, enum.Enum | set | frozenset | bytes)
        or is_custom(type(value))
        or hasattr(type(value), "__pydantic_serializer__")
        or dataclasses.is_dataclass(value)
        or type(value).__module__ in ("datetime", "decimal", "uuid", "pathlib")
    )


def _key(key: Any) -> str:
    """The key of a dict as JSON has it."""
    if isinstance(key, str) and not isinstance(key, enum.Enum):
        return key
    return str(next(iter(dump({key: None})), key)) if not isinstance(key, Mapping) else str(key)
