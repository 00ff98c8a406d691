"""Random JSON schemas of all that grammars know, whose values are bounded so that any model comes to their end."""

import random
from typing import Any

NAMES = ["name", "age", "tags", "x", "is ok", "é", 'quo"te', "$ref", "a/b", "n\n"]
WORDS = ["yes", "no", "red car", "é中", 'say "hi"', "a\\b", "", "1", "null", "line\nbreak", "{}", "\u2028"]
PATTERNS = ["^[a-z]{1,4}$", "^(ab|cd)+e?$", "^[0-9]{3}-[0-9]{2}$", r"^\w{2,5}$", "^[^a]{0,6}$"]
FORMATS = ["date", "uuid", "ipv4"]


def schema(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    """A schema; at `depth` 0 of a single value."""
    made = _part(rng, depth)
    if depth and rng.random() < 0.2:
        made = {"$defs": {"part": _part(rng, 1)}, "type": "object", "properties": {"here": {"$ref": "#/$defs/part"}},
                "required": ["here"], "additionalProperties": False}  # fmt: skip
    return made


def _part(rng: random.Random, depth: int) -> dict[str, Any]:
    kinds = [_string, _string, _integer, _number, _choice, _const, _plain]
    return rng.choice([*kinds, *([_object] * 4 + [_array] * 2 + [_any_of, _all_of] if depth else [])])(rng, depth)


def _string(rng: random.Random, depth: int) -> dict[str, Any]:
    way = rng.randrange(3)
    if way == 0:
        least = rng.randrange(4)
        return {"type": "string", "minLength": least, "maxLength": least + rng.randrange(8)}
    return {"type": "string", **({"pattern": rng.choice(PATTERNS)} if way == 1 else {"format": rng.choice(FORMATS)})}


def _integer(rng: random.Random, depth: int) -> dict[str, Any]:
    low = rng.randint(-1000, 1000)
    high = low + rng.randrange(300)
    ends = {"minimum": low, "maximum": high} if rng.random() < 0.6 else {"exclusiveMinimum": low - 1, "maximum": high}
    return {"type": "integer", **ends}


def _number(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"type": "number", "multipleOf": 0.5, "minimum": rng.randint(-9, 0), "maximum": rng.randint(1, 90)}


def _choice(rng: random.Random, depth: int) -> dict[str, Any]:
    values: list[Any] = [*WORDS, 1, 12, -3.5, True, None, [1, "a"], {"k": "v"}]
    return {"enum": rng.sample(values, rng.randint(1, 5))}


def _const(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"const": rng.choice([*WORDS, 7, 2.25, False, {"a": [None]}])}


def _plain(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"type": rng.choice(["boolean", "null", ["boolean", "null"]])}


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(NAMES, rng.randint(0, 4))
    return {
        "type": "object",
        "properties": {n: _part(rng, depth - 1) for n in names},
        "required": [n for n in names if rng.random() < 0.7],
        "additionalProperties": False,
    }


def _array(rng: random.Random, depth: int) -> dict[str, Any]:
    if rng.random() < 0.25:
        parts = [_part(rng, depth - 1) for _ in range(rng.randint(1, 3))]
        return {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)}
    least = rng.randrange(3)
    return {"type": "array", "items": _part(rng, depth - 1), "minItems": least, "maxItems": least + rng.randrange(3)}


def _any_of(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [_part(rng, depth - 1) for _ in range(rng.randint(1, 3))]}


def _all_of(rng: random.Random, depth: int) -> dict[str, Any]:
    low = rng.randint(0, 50)
    return {"allOf": [{"type": "integer", "minimum": low}, {"maximum": low + 40}]}
