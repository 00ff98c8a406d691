"""Values of the wrong form turned into what a schema wants, where there is only one thing they can mean.

    mend("3,000", {"type": "integer"})            3000
    mend("yes.", {"type": "boolean"})             True
    mend({"Full Name": "Ada"}, person)            {"full_name": "Ada"}

Tried where `lampc.ir.adapters.lax` refuses. Guided by the schema, as BAML's schema-aligned parsing is
(https://www.boundaryml.com/blog/schema-aligned-parsing): the schema says which of many readings can be meant.
"""

from __future__ import annotations

import json
import re
from typing import Any

from lampc.ir.adapters.lax import DEPTH, Schema, Unfit, fit, resolved, short, spelled
from lampc.ir.adapters.meant import WRAPPINGS, denies, folded, number_in, option_in

_BULLET = re.compile(r"^[^\S\n]*+(?:[-*•]|\d++[.)])\s++(.*)$", re.MULTILINE)
_NOTHING = {"", "none", "null", "n/a", "nil", "undefined"}
_SEPARATOR = re.compile(r"[,;|\[\]{}]|\b(?:and|or)\b|&", re.IGNORECASE)
"""Stands in a text that may be one item of a list or several."""


def mend(value: Any, schema: Schema, defs: Schema | None = None) -> Any:
    """The value as the schema has it. Raises Unfit if it can mean several things, or nothing."""
    return _mend(value, schema, schema.get("$defs", {}) if defs is None else defs, 0)


def _mend(value: Any, schema: Schema, defs: Schema, depth: int) -> Any:
    if depth > DEPTH // 4:
        raise Unfit("nested too deeply")
    try:
        return fit(value, schema, defs)
    except Unfit as e:
        refused = str(e)
    schema = resolved(schema, defs)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return _union(value, choices, defs, depth)
    if "enum" in schema or "const" in schema:
        return _option(value, schema["enum"] if "enum" in schema else [schema["const"]])
    made: Any
    match schema.get("type"):
        case "string":
            made = _text(value)
        case "integer" | "number":
            made = _number(value, refused)
        case "boolean":
            made = _truth(value)
        case "null":
            if not (isinstance(value, str) and value.strip(WRAPPINGS).lower() in _NOTHING):
                raise Unfit(refused)
            made = None
        case "array":
            made = _items(value, schema, defs, depth)
        case "object":
            made = _fields(value, schema, defs, depth)
        case _:
            raise Unfit(refused)
    return fit(made, schema, defs)


def _union(value: Any, choices: list[Schema], defs: Schema, depth: int) -> Any:
    """The first choice that the value can be mended to; texts come last, since everything can be a text."""
    ordered = sorted(choices, key=lambda c: resolved(c, defs).get("type") == "string")
    for choice in ordered:
        try:
            return _mend(value, choice, defs, depth + 1)
        except Unfit:
            continue
    kinds = ", ".join(dict.fromkeys(spelled(resolved(c, defs)) for c in choices))
    raise Unfit(f"expected one of: {kinds}; got {short(value)}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        raise Unfit("expected a text, got nothing")
    return str(value) if isinstance(value, int | float) else json.dumps(value, ensure_ascii=False, default=str)


def _number(value: Any, refused: str) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    found = number_in(value) if isinstance(value, str) else None
    if found is None:
        raise Unfit(refused)
    return found


def _truth(value: Any) -> bool:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    found = option_in(value, ["true", "yes", "false", "no"]) if isinstance(value, str) else None
    if found is None:
        raise Unfit(f"expected true or false, got {short(value)}")
    return found in ("true", "yes")


def _option(value: Any, options: list[Any]) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and len(value) == 1 and not denies(str(next(iter(value)))):
        value = next(iter(value.values()))
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    names = {str(o): o for o in options}
    found = option_in(value, list(names)) if isinstance(value, str) and len(names) == len(options) else None
    if found is None:
        raise Unfit(f"expected one of: {', '.join(map(str, options))}; got {short(value)}")
    return names[found]


def _items(value: Any, schema: Schema, defs: Schema, depth: int) -> list[Any]:
    prefix, rest = schema.get("prefixItems", []), schema.get("items", {})
    of_objects = resolved(rest, defs).get("type") == "object"
    if isinstance(value, str):
        value = _listed(value)
    elif isinstance(value, dict):
        inner = [v for v in value.values() if isinstance(v, list)]
        if len(value) == 1 and inner:
            value = inner[0]
        elif value and list(value) == [str(i) for i in range(len(value))]:
            value = list(value.values())
        elif not of_objects:
            raise Unfit(f"expected a list, got {short(value)}")
    if not isinstance(value, list | tuple | set | frozenset):
        value = [] if value is None else [value]
    out = []
    for i, item in enumerate(value):
        try:
            out.append(_mend(item, prefix[i] if i < len(prefix) else rest, defs, depth + 1))
        except Unfit as e:
            raise Unfit(f"item {i}: {e}") from None
    return out


def _listed(text: str) -> list[str]:
    """The items of a text: one a line, or one alone. Raises Unfit if it may be one or several."""
    if not text.strip() or text.strip(WRAPPINGS).lower() in _NOTHING:
        return []
    lines = text.strip().splitlines()
    marks = [i for i, line in enumerate(lines) if _BULLET.match(line)]
    if marks:
        first, last = marks[0], marks[-1]
        after = lines[last + 1 :]
        if len(marks) < sum(bool(line.strip()) for line in lines[first : last + 1]) or (after and after[0].strip()):
            raise Unfit(f"expected one item a line, got {short(text)}")
        return _BULLET.findall(text)
    lines = [line.strip() for line in lines if line.strip()]
    if (len(lines) == 1 and _SEPARATOR.search(text)) or (len(lines) > 1 and any(li.endswith(":") for li in lines)):
        raise Unfit(f"expected a list, got {short(text)}, which may be one item or several")
    return lines


def _fields(value: Any, schema: Schema, defs: Schema, depth: int) -> dict[str, Any]:
    properties: Schema = schema.get("properties", {})
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if not isinstance(value, dict):
        name = next(iter(properties), "")
        if len(properties) != 1 or value is None or isinstance(value, list) or _textual(properties[name], defs):
            raise Unfit(f"expected an object, got {short(value)}")
        value = {name: value}
    if len(value) == 1 and not set(value) & set(properties):
        (inner,) = value.values()
        needed = set(schema.get("required", ())) or set(properties)
        if isinstance(inner, dict) and needed <= _known(inner, properties):
            value = inner  # wrapped in its own name
    out: dict[str, Any] = {}
    rest = dict(value)
    for name, wanted in properties.items():
        key = name if name in rest else next((k for k in rest if folded(str(k)) == folded(name)), None)
        if key is not None:
            try:
                out[name] = _mend(rest.pop(key), wanted, defs, depth + 1)
            except Unfit as e:
                raise Unfit(f"field `{name}`: {e}") from None
        elif name in schema.get("required", ()):
            if not _nullable(wanted, defs):
                raise Unfit(f"field `{name}` is missing")
            out[name] = None
    extra = schema.get("additionalProperties", not properties)
    if extra:
        inner_schema: Schema = extra if isinstance(extra, dict) else {}
        out |= {str(k): _mend(v, inner_schema, defs, depth + 1) for k, v in rest.items()}
    return out


def _known(value: dict[str, Any], properties: Schema) -> set[str]:
    keys = {folded(str(k)) for k in value}
    return {n for n in properties if folded(n) in keys}


def _textual(schema: Schema, defs: Schema) -> bool:
    """Whether any text fits."""
    made = resolved(schema, defs)
    kinds = [resolved(c, defs).get("type") for c in made.get("anyOf", [made])]
    return "enum" not in made and "const" not in made and ("string" in kinds or None in kinds)


def _nullable(schema: Schema, defs: Schema) -> bool:
    choices = resolved(schema, defs).get("anyOf", [])
    return any(resolved(c, defs).get("type") == "null" for c in choices)
