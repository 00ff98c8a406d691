"""Values of literals as written, and how to write values."""

from __future__ import annotations

import inspect
import json
import math
import re
from typing import Any

from lampc.frontend.lmp import ast

RESERVED = frozenset(["if", "then", "else", "match", "map", "and", "or", "not", "in", "true", "false", "null"])
WORD = re.compile(r"[A-Za-z_]\w*\Z")
UNITS = {"k": 1_000, "M": 1_000_000, "ms": 0.001, "s": 1}


class BadLiteral(Exception):
    """A literal that means nothing; the message says why."""


def value(literal: ast.Literal) -> Any:
    """The value of a literal. Raises BadLiteral on a bad escape or a number too large."""
    match literal.kind:
        case "true" | "false":
            return literal.kind == "true"
        case "null":
            return None
        case "number":
            return number(literal.raw)
    return text(literal.raw)


def number(raw: str) -> int | float:
    """An int unless there is a point, an exponent or a unit that makes a fraction."""
    found = re.fullmatch(r"(-?[\d_.]+(?:[eE][+-]?\d+)?)(ms|s|k|M)?", raw)
    if not found:
        raise BadLiteral(f"`{raw}` is not a number")
    digits, unit = found.groups()
    plain = digits.replace("_", "")
    out: int | float = float(plain) if any(c in plain for c in ".eE") else int(plain)
    if unit:
        out = out * UNITS[unit]
        if isinstance(out, float) and out.is_integer() and unit in "kM":
            out = int(out)
    if isinstance(out, float) and math.isinf(out):
        raise BadLiteral(f"`{raw}` is too large")
    return out


_HALF = re.compile("[\ud800-\udfff]")


def text(raw: str) -> str:
    """The text that a `"..."` (JSON escapes) or a triple-quoted text (dedented, stripped) stands for."""
    if raw.startswith('"""'):
        return inspect.cleandoc(raw[3:-3]).strip()
    try:
        made = json.loads(raw, strict=False)
    except ValueError:
        bad = next((e for e in re.findall(r"\\.", raw) if e[1] not in '"\\/bfnrtu'), "\\u")
        raise BadLiteral(f"`{bad}` is no escape that texts know") from None
    assert isinstance(made, str)
    half = _HALF.search(made)
    if half:
        raise BadLiteral(f"`\\u{ord(half[0]):04x}` is half of a character: write the character, or both halves")
    return made


def quoted(raw: str) -> str:
    """The name that a `"..."` before a colon stands for; as written if it has a bad escape: no such name exists."""
    try:
        return text(raw)
    except BadLiteral:
        return raw


def key(name: str) -> str:
    """A name before a colon: bare if it can be, else quoted."""
    return name if WORD.match(name) and name not in RESERVED else quote(name)


def quote(text_: str) -> str:
    """A `"..."` literal of a text."""
    return json.dumps(text_, ensure_ascii=False)


def prose(text_: str) -> str:
    """A triple-quoted literal if it gives back the text exactly, else a `"..."` one."""
    block = f'"""{text_}"""'
    fits = '"""' not in text_ and not text_.endswith('"') and "\r" not in text_ and "\t" not in text_
    return block if fits and text_ and "\n" not in text_ and text(block) == text_ else quote(text_)


def show(plain: Any, keys: bool = False) -> str:
    """A plain JSON value as an expression; with `keys` any text may be the name of a field.

    Raises BadLiteral for an infinite number."""
    match plain:
        case None:
            return "null"
        case bool():
            return "true" if plain else "false"
        case str():
            return quote(plain)
        case int():
            return str(plain)
        case float():
            if not math.isfinite(plain):
                raise BadLiteral(f"{plain} cannot be written as a number")
            return repr(plain)
        case list() | tuple():
            return "[" + ", ".join(show(v, keys) for v in plain) + "]"
        case dict():
            for name in plain:
                if not keys and not WORD.match(str(name)):
                    raise BadLiteral(f"{name!r} cannot be the name of a field")
            return "(" + ", ".join(f"{key(str(k))}: {show(v, keys)}" for k, v in plain.items()) + ")"
    raise BadLiteral(f"{type(plain).__name__} is no JSON value")
