"""The prompts of a program as JSON: messages with slots, and what is read back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lampc.ir import Sampling, thaw
from lampc.ir.adapters import Bound, adapter
from lampc.ir.adapters.bind import segment_text, shown_turns
from lampc.ir.adapters.lax import resolved
from lampc.ir.adapters.lengths import call_sampling
from lampc.ir.adapters.registry import STRICT
from lampc.ir.adapters.schema import is_history, is_text, json_schema, option
from lampc.ir.content import Field
from lampc.ir.penalties import told_penalties
from lampc.ir.prompt import Input, Output
from lampc.ir.types import Choice, ListOf, MapOf, Maybe, Record, Scalar, Type
from lampc.runtime.export.errors import NotExportable
from lampc.runtime.modelview import with_defaults

if TYPE_CHECKING:
    from lampc.runtime.lm import BaseLM

LAYOUTS = ("chat", "compact", "json", "xml")


def prompt_of(bound: Bound) -> dict[str, Any]:
    """A predictor's prompt as data. Raises NotExportable."""
    layout = bound.layout.removesuffix(STRICT)
    if layout not in LAYOUTS:
        raise NotExportable(f"predictor `{bound.name}`: layout `{bound.layout}`; it can be {', '.join(LAYOUTS)}")
    how = adapter(bound.layout)
    none = [None] * len(bound.signature.inputs)
    messages: list[dict[str, Any]] = []
    for turn in how.render(bound.signature, bound.name).turns:
        if any(isinstance(s, Output) for s in turn.segments):
            continue
        if turn.role == "history":
            messages += [_history(s, bound) for s in turn.segments if isinstance(s, Input)]
            continue
        whole = [t for s in turn.segments if not isinstance(s, Input) for t in shown_turns(s, bound, none)]
        if whole or turn.role == "demos":
            messages += [{"role": r, "parts": [text]} for r, text in whole]
            continue
        parts: list[Any] = []
        for segment in turn.segments:
            if isinstance(segment, Input):
                parts.append({"input": segment.field.name, "as": _form(segment.field, bound)})
            else:
                parts.append(segment_text(segment, bound, none))
        messages.append({"role": turn.role, "parts": _joined(parts)})
    outputs = [_output(f, bound) for f in bound.signature.outputs]
    return {"layout": layout, "messages": messages, "outputs": outputs}


def _history(slot: Input, bound: Bound) -> dict[str, Any]:
    """A conversation's turns, as a turn of marks reads."""
    fields = [f for f in (*bound.signature.inputs, *bound.signature.outputs) if not is_history(f)]
    marks = {f.name: f"\x02{i}\x03" for i, f in enumerate(fields)}
    turns = []
    for role, text in adapter(bound.layout).history(bound.signature, {"messages": [marks]}):
        parts: list[Any] = []
        for i, piece in enumerate(re.split("\x02(\\d+)\x03", text)):
            parts.append({"input": fields[int(piece)].name, "as": _form(fields[int(piece)], bound)} if i % 2 else piece)
        turns.append({"role": role, "parts": _joined(parts)})
    return {"history": slot.field.name, "turns": turns}


def options_of(bound: Bound, sampling: Sampling, lm: BaseLM | None = None) -> dict[str, Any]:
    """Sampling of one call site, under OpenAI's names. Programs that run on an `lm` say what it or they say, and leave
    the rest to the endpoint."""
    out: dict[str, Any] = {}
    if lm is not None:
        defaults = {"max_tokens": 0, **lm.defaults()}
        left = not sampling.temperature and "temperature" not in {*defaults, *sampling.firm}
        sampling = with_defaults(sampling, defaults)
    s = call_sampling(bound.signature, bound.layout, sampling)
    if lm is None or not left:
        out["temperature"] = s.temperature
    if s.max_tokens:
        out["max_tokens"] = s.max_tokens
    if s.top_p < 1.0:
        out["top_p"] = s.top_p
    if s.stop:
        out["stop"] = list(s.stop)
    told = told_penalties(s)
    out.update(
        (name, told.pop(name)) for name in ("presence_penalty", "frequency_penalty", "logit_bias") if name in told
    )
    further = json.dumps(lm.further(), default=option) if lm is not None else "{}"
    if extra := {**told, **json.loads(further), **json.loads(s.extra or "{}")}:
        out["extra_body"] = extra
    return out


def _form(field: Field, bound: Bound) -> str:
    if is_history(field) or (field.shape is not None and field.shape.form not in ("schema", "literal")):
        raise NotExportable(f"input `{field.name}` of `{bound.name}`: values of type `{_spelled(field)}`")
    if bound.layout == "compact":
        item = field.type.item if isinstance(field.type, Maybe) else field.type
        return "lines" if isinstance(item, ListOf) and item.item == Scalar("str") else "json"
    return "text" if is_text(field) else "value"


def _output(field: Field, bound: Bound) -> dict[str, Any]:
    if field.shape is not None and field.shape.form not in ("schema", "literal"):
        raise NotExportable(f"output `{field.name}` of `{bound.name}`: values of type `{_spelled(field)}`")
    out: dict[str, Any] = {"name": field.name, "type": type_of(field.type, json_schema(field))}
    if field.optional():
        out["default"] = thaw(field.absent())
    return out


def _spelled(field: Field) -> str:
    return field.shape.name if field.shape is not None else str(field.type)


def type_of(t: Type, schema: Mapping[str, Any], defs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A type as data, with the defaults that the JSON schema of its values has for fields of records."""
    defs = schema.get("$defs", {}) if defs is None else defs
    schema = resolved(schema, defs)
    match t:
        case Scalar(kind) if kind in ("str", "int", "float", "bool"):
            return {"kind": kind}
        case Choice(options):
            return {"kind": "choice", "options": list(options)}
        case Maybe(item):
            some = next((s for s in schema.get("anyOf", ()) if s.get("type") != "null"), schema)
            return {"kind": "maybe", "item": type_of(item, some, defs)}
        case ListOf(item):
            return {"kind": "list", "item": type_of(item, schema.get("items", {}), defs)}
        case MapOf(item):
            values = schema.get("additionalProperties")
            return {"kind": "map", "item": type_of(item, values if isinstance(values, dict) else {}, defs)}
        case Record(fields):
            within = schema.get("properties", {})
            out = {"kind": "record", "fields": {n: type_of(x, within.get(n, {}), defs) for n, x in fields}}
            defaults = {n: within[n]["default"] for n, _ in fields if "default" in within.get(n, {})}
            return {**out, "defaults": defaults} if defaults else out
    return {"kind": "any"}


def _joined(parts: list[Any]) -> list[Any]:
    out: list[Any] = []
    for p in parts:
        if isinstance(p, str) and out and isinstance(out[-1], str):
            out[-1] += p
        elif p != "":
            out.append(p)
    return out
