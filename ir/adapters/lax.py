"""Values held against a JSON schema as pydantic's lax mode does it: `"3"` is an integer, `3.5` is none.

    fit({"n": "3"}, {"type": "object", "properties": {"n": {"type": "integer"}}})    {"n": 3}

This is what DSPy accepts as the value of an output, after it has read the text as JSON. Differences: numbers must be
finite, since values of programs are JSON; objects stay what JSON has for them. pydantic's rules are documented in its
conversion table (https://docs.pydantic.dev/latest/concepts/conversion_table/).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from lampc.ir.diag import there_are

Schema: TypeAlias = Mapping[str, Any]
DEPTH = 200
"""Deepest nesting that is read; a model that writes more of it means nothing by it."""

_INT = re.compile(r"[-+]?\d+(?:_\d+)*(?:\.0*)?\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\Z", re.ASCII)
_TRUE = {"1", "on", "t", "true", "y", "yes"}
_FALSE = {"0", "off", "f", "false", "n", "no"}


class Unfit(ValueError):
    """A value does not fit a schema; the message says where and why."""


def fit(value: Any, schema: Schema, defs: Schema | None = None) -> Any:
    """The value as the schema has it. Raises Unfit."""
    return _fit(value, schema, schema.get("$defs", {}) if defs is None else defs, False, 0)


def resolved(schema: Schema, defs: Schema) -> Schema:
    """The schema that a reference stands for."""
    seen = 0
    while "$ref" in schema and seen < DEPTH:
        schema = defs[str(schema["$ref"]).rpartition("/")[2]]
        seen += 1
    parts = schema.get("allOf")
    return resolved(parts[0], defs) if parts and len(parts) == 1 else schema


def _fit(value: Any, schema: Schema, defs: Schema, strict: bool, depth: int) -> Any:
    if depth > DEPTH:
        raise Unfit("nested too deeply")
    schema = resolved(schema, defs)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return _union(value, choices, defs, strict, depth)
    if "enum" in schema or "const" in schema:
        return _member(value, schema["enum"] if "enum" in schema else [schema["const"]])
    kind = schema.get("type")
    if kind is None:
        return value
    if isinstance(kind, list):
        return _union(value, [{**schema, "type": k} for k in kind], defs, strict, depth)
    if kind == "array":
        return _array(value, schema, defs, strict, depth)
    if kind == "object":
        return _object(value, schema, defs, strict, depth)
    made = _SCALARS[kind](value, strict) if kind in _SCALARS else value
    if why := beyond(made, schema):
        raise Unfit(why)
    return made


def _union(value: Any, choices: list[Schema], defs: Schema, strict: bool, depth: int) -> Any:
    """The first choice that fits strictly, else the first that fits: of objects the one with most fields given."""
    for mode in (True,) if strict else (True, False):
        found: list[tuple[int, Any]] = []
        for choice in choices:
            try:
                made = _fit(value, choice, defs, mode, depth + 1)
            except Unfit:
                continue
            if not isinstance(value, dict):
                return made
            known = resolved(choice, defs).get("properties", {})
            found.append((sum(k in value for k in known), made))
        if found:
            return max(found, key=lambda f: f[0])[1]
    kinds = ", ".join(dict.fromkeys(spelled(resolved(c, defs)) for c in choices))
    raise Unfit(f"expected one of: {kinds}; got {short(value)}")


def _member(value: Any, options: list[Any]) -> Any:
    for option in options:
        if type(option) is type(value) and option == value:
            return option
    for option in options:  # 1.0 for 1, but no text for a number
        if not isinstance(option, str) and not isinstance(value, str) and option == value:
            return option
    raise Unfit(f"expected one of: {', '.join(map(str, options))}; got {short(value)}")


def _array(value: Any, schema: Schema, defs: Schema, strict: bool, depth: int) -> list[Any]:
    if not isinstance(value, list | tuple) and (strict or not isinstance(value, set | frozenset)):
        raise Unfit(f"expected a list, got {short(value)}")
    prefix = schema.get("prefixItems", [])
    rest = schema.get("items", {})
    items = list(value)
    if prefix and len(items) != len(prefix):
        raise Unfit(f"expected {len(prefix)} items, got {len(items)}")
    out = []
    for i, item in enumerate(items):
        try:
            out.append(_fit(item, prefix[i] if i < len(prefix) else rest, defs, strict, depth + 1))
        except Unfit as e:
            raise Unfit(f"item {i}: {e}") from None
    if schema.get("uniqueItems"):
        out = [x for i, x in enumerate(out) if not any(type(x) is type(y) and x == y for y in out[:i])]
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if len(out) < least or (most is not None and len(out) > most):
        raise Unfit(f"expected {least} to {'any number of' if most is None else most} items, got {len(out)}")
    return out


def _object(value: Any, schema: Schema, defs: Schema, strict: bool, depth: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unfit(f"expected an object, got {short(value)}")
    properties: Schema = schema.get("properties", {})
    extra = schema.get("additionalProperties", not properties)
    out: dict[str, Any] = {}
    for name, inner in properties.items():
        if name in value:
            try:
                out[name] = _fit(value[name], inner, defs, strict, depth + 1)
            except Unfit as e:
                raise Unfit(f"field `{name}`: {e}") from None
        elif name in schema.get("required", ()):
            raise Unfit(f"field `{name}` is missing")
        elif "default" in inner:
            out[name] = inner["default"]
    for name in value:
        if name in properties:
            continue
        if not isinstance(name, str):
            raise Unfit(f"keys are texts, got {short(name)}")
        if isinstance(extra, Mapping):
            try:
                out[name] = _fit(value[name], extra, defs, strict, depth + 1)
            except Unfit as e:
                raise Unfit(f"key `{name}`: {e}") from None
        elif extra:
            out[name] = value[name]
        elif schema.get("additionalProperties") is False:
            raise Unfit(f"there is no field `{name}`; {there_are(properties)}")
    return out


# -- scalars ------------------------------------------------------------------------------------------------


def _string(value: Any, strict: bool) -> str:
    if not isinstance(value, str):
        raise Unfit(f"expected a text, got {short(value)}")
    return value


def _integer(value: Any, strict: bool) -> int:
    if isinstance(value, bool):
        if not strict:
            return int(value)
    elif isinstance(value, int):
        return value
    elif not strict and isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    elif not strict and isinstance(value, str) and _INT.match(value.strip()) and len(value) < 4000:
        return int(value.strip().partition(".")[0].replace("_", ""))
    raise Unfit(f"expected a whole number, got {short(value)}")


def _number(value: Any, strict: bool) -> float:
    made = math.nan
    if not isinstance(value, bool | str) and isinstance(value, int | float):
        try:
            made = float(value)
        except OverflowError:
            made = math.inf
    elif isinstance(value, bool):
        made = math.nan if strict else float(value)
    elif not strict and isinstance(value, str) and _FLOAT.match(value.strip()):
        made = float(value.strip().replace("_", ""))
    if not math.isfinite(made):
        raise Unfit(f"expected a number, got {short(value)}")
    return made


def _boolean(value: Any, strict: bool) -> bool:
    if isinstance(value, bool):
        return value
    if not strict and isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if not strict and isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise Unfit(f"expected true or false, got {short(value)}")


def _null(value: Any, strict: bool) -> None:
    if value is not None:
        raise Unfit(f"expected nothing, got {short(value)}")


_SCALARS: dict[str, Callable[[Any, bool], Any]] = {
    "string": _string, "integer": _integer, "number": _number, "boolean": _boolean, "null": _null,
}  # fmt: skip


def beyond(value: Any, schema: Schema) -> str | None:
    """Which bound of the schema a text or number breaks, or None."""
    if isinstance(value, str):
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if len(value) < least or (most is not None and len(value) > most):
            wanted = f"at least {least}" if most is None else f"{least} to {most}"
            return f"expected {wanted} characters, got {len(value)}"
        pattern = schema.get("pattern")
        if pattern and len(value) < 10_000 and not _matches(pattern, value):
            return f"expected a text like /{pattern}/, got {short(value)}"
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    tests: list[tuple[str, str, Callable[[Any], bool]]] = [
        ("minimum", "at least", lambda b: value >= b),
        ("maximum", "at most", lambda b: value <= b),
        ("exclusiveMinimum", "more than", lambda b: value > b),
        ("exclusiveMaximum", "less than", lambda b: value < b),
        ("multipleOf", "a multiple of", lambda b: math.isclose(value / b, round(value / b), abs_tol=1e-9)),
    ]
    for name, words, test in tests:
        if name in schema and not test(schema[name]):
            return f"expected {words} {schema[name]}, got {short(value)}"
    return None


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True  # a pattern of another dialect is left to whoever makes the object


def short(value: Any) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def spelled(schema: Schema) -> str:
    """A few words for what a schema wants."""
    if "enum" in schema:
        return " | ".join(map(repr, schema["enum"]))
    if "const" in schema:
        return repr(schema["const"])
    words = {"string": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
    words |= {"null": "nothing", "array": "a list", "object": "an object"}
    kind = schema.get("type")
    return words.get(str(kind), str(schema.get("title", "a value")))
