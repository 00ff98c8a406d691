"""Outputs read as DSPy 3.4 reads them: what it accepts is accepted, with the same value.

Values are JSON here where DSPy makes objects of classes; the frontend makes those of what is read here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.lax import DEPTH, Unfit, fit, resolved, short
from lampc.ir.adapters.schema import is_text, json_schema, options_of
from lampc.ir.adapters.values import unwritable
from lampc.ir.content import Field, Signature
from lampc.ir.hostvalues import has_hosts, settled
from lampc.ir.sources import literal
from lampc.ir.types import mismatch

LONGEST = 1 << 20
"""Characters of a text that are searched for JSON: more than that is no answer of a model."""
_FENCES = (re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL), re.compile(r"```(.*?)```", re.DOTALL))


def repaired(text: str) -> Any:
    """What a text holds as JSON once the usual slips are mended (by the library json_repair); "" if it holds none."""
    import json_repair

    if len(text) > LONGEST or _depth(text) > DEPTH:
        return ""
    try:
        return json_repair.loads(text)
    except Exception:  # what it stumbles over (its assertions, deep recursion) holds no JSON either
        return ""


def _depth(text: str) -> int:
    """How deep brackets are nested at most, whatever else stands between them."""
    depth = deepest = 0
    for match in re.finditer(r"[\[{(]|[\]})]", text):
        depth = depth + 1 if match.group() in "[{(" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


def embedded_object(text: str) -> str | None:
    """The first stretch of text between braces that balance, whatever else stands in it."""
    opened: list[int] = []
    best: tuple[int, int] | None = None
    for match in re.finditer(r"[{}]", text):
        if match.group() == "{":
            opened.append(match.start())
        elif opened:
            start = opened.pop()
            if best is None or start < best[0]:
                best = start, match.end()
            if not opened:
                return text[start : match.end()]
    return text[best[0] : best[1]] if best else None


def accept(value: Any, field: Field) -> Any:
    """The value of a field out of text, or out of JSON that an answer holds. Raises Unfit."""
    try:
        made = _accept(value, field)
    except Unfit:
        made = _taken(value, field)
        if made is None:
            raise
    try:
        made = settled(made, field.type)
    except ValueError as e:
        raise Unfit(str(e)) from None
    if why := unwritable(made, field.name):
        raise Unfit(why)
    return made


def _taken(value: Any, field: Field) -> Any:
    """The value as the class of a field has it, if that takes more than its schema tells of; else None."""
    if not has_hosts(field.type) or (field.shape is not None and field.shape.form == "enum"):
        return None
    try:
        made = settled(_candidate(value) if isinstance(value, str) else value, field.type)
    except ValueError:
        return None
    return made if mismatch(made, field.type) is None else None


def _accept(value: Any, field: Field) -> Any:
    if is_text(field):
        return str(value)
    form = field.shape.form if field.shape is not None else ""
    schema = json_schema(field)
    if form == "enum":
        return _enum(value, field)
    options = options_of(field)
    if options:
        value = _literal(value, options)
        if value in options:
            return value
    if form in ("text", "code", "custom"):
        return _custom(value, field)
    if not isinstance(value, str):
        return fit(value, schema)
    if _or_text(schema):
        return fit(value, schema)
    return fit(_candidate(value), schema)


def _candidate(text: str) -> Any:
    found = repaired(text)
    if found != "" or text == "":
        return found
    try:
        return literal(text) if len(text) <= LONGEST else text
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _enum(value: Any, field: Field) -> Any:
    assert field.shape is not None
    options = options_of(field)
    for option in options:
        if option == value:
            return option
    if value in field.shape.names:
        return options[field.shape.names.index(value)]
    raise Unfit(f"expected one of: {', '.join(map(str, options))}; got {short(value)}")


def _literal(value: Any, options: tuple[Any, ...]) -> Any:
    """The option itself, or what is left of a text once it is freed of quotes and of `Literal[...]`."""
    if value in options:
        return value
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith(("Literal[", "str[")) and text.endswith("]"):
        text = text[text.find("[") + 1 : -1]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    return text


def _or_text(schema: Mapping[str, Any]) -> bool:
    """Whether a text stands for itself: a union of `str`, `None` and perhaps more."""
    choices = schema.get("anyOf", [])
    return {"type": "string"} in choices and {"type": "null"} in choices


def allows_none(field: Field) -> bool:
    schema = json_schema(field)
    return any(resolved(c, schema.get("$defs", {})).get("type") == "null" for c in [schema, *schema.get("anyOf", [])])


def _custom(value: Any, field: Field) -> Any:
    """Types with a text of their own: read as JSON first, then as that text."""
    assert field.shape is not None
    tries = [_candidate(value), value] if isinstance(value, str) else [value]
    if field.shape.name == "ToolCalls":
        read: Callable[[Any, Field], Any] = _calls_of
    else:
        read = {"text": _text_of, "code": _code_of}.get(field.shape.form, lambda v, f: fit(v, json_schema(f)))
    refused = "nothing to read"
    for attempt in tries:
        try:
            return read(attempt, field)
        except Unfit as e:
            refused = refused if refused != "nothing to read" else str(e)
    raise Unfit(refused)


def _text_of(value: Any, field: Field) -> str:
    if isinstance(value, dict):
        value = value.get("content")
    if not isinstance(value, str):
        raise Unfit(f"expected a text, got {short(value)}")
    return value


def _code_of(value: Any, field: Field) -> str:
    if isinstance(value, dict):
        value = value.get("code")
    if not isinstance(value, str):
        raise Unfit(f"expected code, got {short(value)}")
    found = next((m for m in (p.search(value) for p in _FENCES) if m), None)
    return found.group(1).strip() if found else value


def _calls_of(value: Any, field: Field) -> dict[str, Any]:
    if isinstance(value, dict) and "tool_calls" not in value and _is_call(value):
        value = [value]
    calls = value.get("tool_calls") if isinstance(value, dict) else value
    if not isinstance(calls, list) or not all(isinstance(c, dict) and _is_call(c) for c in calls):
        raise Unfit(f'expected {{"tool_calls": [{{"name": "...", "args": {{...}}}}]}}, got {short(value)}')
    return {"tool_calls": [_call(c) for c in calls]}


def _is_call(value: Mapping[str, Any]) -> bool:
    return ("name" in value and ("args" in value or "arguments" in value)) or "function" in value


def _call(value: Mapping[str, Any]) -> dict[str, Any]:
    function = value.get("function")
    inner = function if isinstance(function, Mapping) else value
    name = inner.get("name") or value.get("name")
    if not isinstance(name, str):
        raise Unfit(f"a call of a tool without a name: {short(dict(value))}")
    given = inner.get("arguments", {}) if inner is not value else value.get("args", value.get("arguments", {}))
    args = repaired(given) if isinstance(given, str) else given
    made: dict[str, Any] = {"name": name, "args": args if isinstance(args, dict) else {}}
    mark = value.get("id") or value.get("call_id")
    return {"id": str(mark), **made} if mark else made


def finish(signature: Signature, found: Mapping[str, Any], text: str) -> dict[str, Any]:
    """All outputs in the order of the signature, optional ones filled in. Raises ParseFailure if one is missing."""
    out: dict[str, Any] = {}
    for f in signature.outputs:
        if f.name in found:
            out[f.name] = found[f.name]
        elif f.optional() or allows_none(f):
            out[f.name] = f.absent()
        else:
            raise ParseFailure(f"output `{f.name}` is missing", text, {**out, **found})
    return out


def whole(text: str) -> str:
    """Text that can be written: half of a surrogate pair is shown as U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def clean(value: Any) -> Any:
    """A JSON value whose texts can be written."""
    if isinstance(value, str):
        return whole(value)
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError:
        if isinstance(value, dict):
            return {clean(k): clean(v) for k, v in value.items()}
        return [clean(v) for v in value]
