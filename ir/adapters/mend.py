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

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]*\d)")
_BULLET = re.compile(r"^[^\S\n]*+(?:[-*•]|\d++[.)])\s++(.*)$", re.MULTILINE)
_LONGEST = 200
"""Characters of a text in which a number, a truth value or an option is looked for: more is an essay."""
_NOTHING = {"", "none", "null", "n/a", "nil", "undefined"}
_WRAPPINGS = "`\"'*_ \t\n.!"


def mend(value: Any, schema: Schema, defs: Schema | None = None) -> Any:
    """The value as the schema has it. Raises Unfit if it can mean several things, or nothing."""
    return _mend(value, schema, schema.get("$defs", {}) if defs is None else defs, 0)


def _mend(value: Any, schema: Schema, defs: Schema, depth: int) -> Any:
    if depth > DEPTH // 4:
        raise Unfit("nested too deeply")
    try:
        return fit(value, schema, defs)
    except Unfit as e:
        refused = e
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
            if not (isinstance(value, str) and value.strip(_WRAPPINGS).lower() in _NOTHING):
                raise refused
            made = None
        case "array":
            made = _items(value, schema, defs, depth)
        case "object":
            made = _fields(value, schema, defs, depth)
        case _:
            raise refused
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


def _number(value: Any, refused: Unfit) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise refused
    found = _NUMBER.findall(value)
    if len(found) != 1:
        raise refused
    return found[0].replace(",", "").replace("_", "")


def _truth(value: Any) -> bool:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and len(value) <= _LONGEST:
        words = re.findall(r"[a-z]+", value.lower())
        yes, no = {"true", "yes"} & set(words), {"false", "no"} & set(words)
        first = words[0] in yes | no if words else False
        if bool(yes) != bool(no) and (first or "not" not in words):
            return bool(yes)
    raise Unfit(f"expected true or false, got {short(value)}")


def _option(value: Any, options: list[Any]) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise Unfit(f"expected one of: {', '.join(map(str, options))}; got {short(value)}")
    for shape in (str.strip, lambda t: t.strip(_WRAPPINGS), lambda t: _folded(t.strip(_WRAPPINGS))):
        same = [o for o in options if shape(str(o)) == shape(value)]
        if len(same) == 1:
            return same[0]
    low = value.lower()
    inside = [o for o in options if str(o) and re.search(rf"(?<!\w){re.escape(str(o).lower())}(?!\w)", low)]
    longest = [o for o in inside if not any(o != p and str(o).lower() in str(p).lower() for p in inside)]
    if len(longest) == 1:
        return longest[0]
    raise Unfit(f"expected one of: {', '.join(map(str, options))}; got {short(value)}")


def _folded(text: str) -> str:
    """Case, spaces, hyphens and underscores make no difference."""
    return re.sub(r"[\W_]+", "", text.casefold())


def _items(value: Any, schema: Schema, defs: Schema, depth: int) -> list[Any]:
    prefix, rest = schema.get("prefixItems", []), schema.get("items", {})
    if isinstance(value, str):
        bullets = _BULLET.findall(value)
        if bullets:
            value = bullets
        elif not value.strip() or value.strip(_WRAPPINGS).lower() in _NOTHING:
            value = []
        elif resolved(rest, defs).get("type") in ("string", None) and "\n" in value.strip():
            value = [line.strip() for line in value.splitlines() if line.strip()]
    elif isinstance(value, dict):
        inner = [v for v in value.values() if isinstance(v, list)]
        if len(value) == 1 and inner:
            value = inner[0]
        elif value and list(value) == [str(i) for i in range(len(value))]:
            value = list(value.values())
    if not isinstance(value, list | tuple | set | frozenset):
        value = [] if value is None else [value]
    out = []
    for i, item in enumerate(value):
        try:
            out.append(_mend(item, prefix[i] if i < len(prefix) else rest, defs, depth + 1))
        except Unfit as e:
            raise Unfit(f"item {i}: {e}") from None
    return out


def _fields(value: Any, schema: Schema, defs: Schema, depth: int) -> dict[str, Any]:
    properties: Schema = schema.get("properties", {})
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if not isinstance(value, dict):
        if len(properties) == 1 and value is not None and not isinstance(value, list):
            (name,) = properties
            value = {name: value}
        else:
            raise Unfit(f"expected an object, got {short(value)}")
    if len(value) == 1 and not set(value) & set(properties):
        (inner,) = value.values()
        needed = set(schema.get("required", ())) or set(properties)
        if isinstance(inner, dict) and needed <= _known(inner, properties):
            value = inner  # wrapped in its own name
    out: dict[str, Any] = {}
    rest = dict(value)
    for name, wanted in properties.items():
        key = name if name in rest else next((k for k in rest if _folded(str(k)) == _folded(name)), None)
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
    keys = {_folded(str(k)) for k in value}
    return {n for n in properties if _folded(n) in keys}


def _nullable(schema: Schema, defs: Schema) -> bool:
    choices = resolved(schema, defs).get("anyOf", [])
    return any(resolved(c, defs).get("type") == "null" for c in choices)
