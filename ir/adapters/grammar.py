"""What an answer may look like, as a grammar: whoever masks tokens by it gets no answer that cannot be read.

    grammar(signature, "chat")      'start: "[[ ## n ## ]]\\n" v0 ...\\nv0: %json {"type": "integer"}'
    pieces(signature, "chat")       (Fixed("[[ ## n ## ]]\\n"), Gap("n"), Fixed("\\n\\n[[ ## completed ## ]]"))
    rest_of(("yes", "no"), "y")     'es'

The text is in the dialect of Lark that llguidance reads (https://github.com/guidance-ai/llguidance, docs/syntax.md):
`%json` holds a JSON schema, `[lazy]` rules end as soon as they can. `pieces` are the texts between the values, which
are certain: whoever decodes may fill them in. Pure functions of a signature and a layout.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lampc.ir.adapters.grammar_xml import xml_rules
from lampc.ir.adapters.lax import resolved
from lampc.ir.adapters.registry import kind_of
from lampc.ir.adapters.schema import is_text, json_schema, options_of
from lampc.ir.adapters.values import plain
from lampc.ir.content import Field, Signature
from lampc.ir.types import STR, ListOf, Maybe

_KEPT = (
    "type", "enum", "const", "anyOf", "oneOf", "allOf", "items", "prefixItems", "minItems", "maxItems", "properties",
    "required", "additionalProperties", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "pattern", "$ref", "$defs",
)  # fmt: skip
_LIMITS = {
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fixed:
    """Text that stands in every answer at this place."""

    text: str


@dataclass(frozen=True, slots=True)
class Gap:
    """The value of an output, which the model writes."""

    field: str


def grammar(signature: Signature, layout: str) -> str | None:
    """The answers that a layout reads, as a grammar; None if it reads everything. Raises ValueError."""
    kind = kind_of(layout)
    if kind in ("json", "baml"):
        return f"start: %json {_dumped(answer_schema(signature))}\n"
    if kind == "chat":
        return _marked(signature)
    if kind == "xml":
        return xml_rules(signature)
    return _lines(signature) if kind == "compact" else None


def pieces(signature: Signature, layout: str) -> tuple[Fixed | Gap, ...]:
    """An answer as certain texts and gaps. Within JSON only the order of keys is certain, its spaces are not."""
    kind = kind_of(layout)
    out: list[Fixed | Gap] = []
    for i, f in enumerate(signature.outputs):
        match kind:
            case "chat":
                out += [Fixed(("\n\n" if i else "") + f"[[ ## {f.name} ## ]]\n"), Gap(f.name)]
            case "xml":
                out += [Fixed(("\n\n" if i else "") + f"<{f.name}"), Gap(f.name)]
            case "json" | "baml":
                out += [Fixed(f"{json.dumps(f.name, ensure_ascii=False)}:"), Gap(f.name)]
            case "compact":
                out += [Fixed(("\n" if i else "") + f"{f.name}:"), Gap(f.name)]
    return (*out, Fixed("\n\n[[ ## completed ## ]]")) if kind == "chat" else tuple(out)


def rest_of(options: Sequence[str], written: str) -> str:
    """What must follow once `written` is there: what all options that begin so have in common behind it."""
    left = [o for o in options if o.startswith(written)]
    if not left:
        return ""
    first, last = min(left), max(left)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[len(written) : same]


def answer_schema(signature: Signature) -> dict[str, Any]:
    """JSON schema of the object that `json` asks for, in the keywords that engines of grammars know."""
    properties, defs = {}, {}
    for f in signature.outputs:
        own = value_schema(f)
        defs.update(own.pop("$defs", {}))
        properties[f.name] = own
    needed = [f.name for f in signature.outputs if not f.optional()]
    out = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    return {**out, "$defs": defs} if defs else out


def value_schema(field: Field) -> dict[str, Any]:
    """JSON schema of a field's values with its limits, without what only readers want."""
    form = field.shape.form if field.shape is not None else ""
    if form in ("text", "code"):
        return {"type": "string"}
    made: dict[str, Any] = kept(json_schema(field))
    if made.get("type") in ("integer", "number"):
        made |= {word: field.limits[n] for n, word in _LIMITS.items() if n in field.limits}
    ends = {"string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")}.get(str(made.get("type")))
    if ends is not None:
        made |= {word: field.limits[n] for n, word in zip(("min_length", "max_length"), ends, strict=True)
                 if n in field.limits}  # fmt: skip
    return made


def kept(schema: Any) -> Any:
    """A schema without notes, and without demands that a grammar cannot make (sets, patterns that look around)."""
    if isinstance(schema, list):
        return [kept(s) for s in schema]
    if not isinstance(schema, Mapping):
        return schema
    out: dict[str, Any] = {}
    for name, value in schema.items():
        if name in ("properties", "$defs"):
            out[name] = {n: kept(s) for n, s in value.items()}
        elif name in ("enum", "const", "required"):
            out[name] = value
        elif name == "pattern":
            if not re.search(r"\(\?|\\[1-9bB]", value):
                out[name] = value
        elif name in _KEPT:
            out[name] = kept(value)
    return out


# -- layouts of text ----------------------------------------------------------------------------------------


def _marked(signature: Signature) -> str:
    rules: list[str] = []
    line = [quoted(f"[[ ## {signature.outputs[0].name} ## ]]\n")]
    for i, f in enumerate(signature.outputs):
        following = signature.outputs[i + 1].name if i + 1 < len(signature.outputs) else "completed"
        marker = f"[[ ## {following} ## ]]"
        rule = value_rule(f)
        if rule is None:  # the marker belongs to the rule, since nothing else ends a text; a last empty one is cut
            rules.append(f"v{i}[lazy]: /((?s:.*)\\n)?\\n{pattern(marker)}/")
            line.append(f"v{i}")
        else:
            rules.append(f"v{i}: {rule}")
            line += [f"v{i}", quoted("\n\n" + marker)]
        line.append(quoted("\n") if following != "completed" else '("\\n")?')
    return "\n".join([f"start: {' '.join(line)}", *rules, ""])


def value_rule(field: Field) -> str | None:
    """The right side of a rule for a value outside of JSON; None for what may be any text."""
    if field.shape is not None and field.shape.form in ("text", "code", "history"):
        return None
    if field.shape is not None and field.shape.form == "custom" and field.shape.name != "ToolCalls":
        return None
    if options := options_of(field):
        return " | ".join(quoted(str(o)) for o in dict.fromkeys(map(str, options)))
    return rule_of(value_schema(field), "None")


def rule_of(schema: Mapping[str, Any], nothing: str, one_way: bool = False) -> str | None:
    """The right side of a rule for values of a schema; None for what may be any text.

    `nothing` is how the layout writes None: as Python does, or as JSON does. With `one_way` that is the only way for
    all values, and JSON has the spaces that `json.dumps` writes.
    """
    defs = schema.get("$defs", {})
    found = resolved(schema, defs)
    if "enum" in found or "const" in found:
        options = found.get("enum", [found.get("const")])
        spell = str if nothing == "None" else plain
        return " | ".join(quoted(t) for t in dict.fromkeys(spell(o) for o in options))
    choices = found.get("anyOf") or found.get("oneOf")
    if choices:
        rules = [rule_of({**c, **({"$defs": defs} if defs else {})}, nothing, one_way) for c in choices]
        return None if None in rules else " | ".join(f"({r})" for r in rules)
    match found.get("type"):
        case "boolean" if one_way:
            return '"True" | "False"' if nothing == "None" else '"true" | "false"'
        case "boolean":
            return '"True" | "False" | "true" | "false"'
        case "null":
            return quoted(nothing) if one_way else f'{quoted(nothing)} | "null"'
        case "integer" | "number" | "array" | "object":
            return json_of(schema, one_way)
    return None


def _lines(signature: Signature) -> str:
    """One line a field; a text runs to the next field's name, the last one to the end."""
    rules: list[str] = []
    line: list[str] = []
    for i, f in enumerate(signature.outputs):
        head = ("\n" if i and line[-1] != f"v{i - 1}t" else "") + f"{f.name}:"
        line.append(quoted(head) if not (i and line[-1] == f"v{i - 1}t") else '""')
        rule = None if listed(f) or is_text(f) else rule_of(value_schema(f), "null")
        last = i + 1 == len(signature.outputs)
        if rule is not None:
            rules.append(f'v{i}: " " ({rule})')
            line.append(f"v{i}")
        elif last:
            rules.append(f"v{i}: /(?s:.*)/")
            line.append(f"v{i}")
        else:
            rules.append(f"v{i}t[lazy]: /(?s:.*)\\n{pattern(signature.outputs[i + 1].name + ':')}/")
            line.append(f"v{i}t")
    return "\n".join([f"start: {' '.join(p for p in line if p != chr(34) * 2)}", *rules, ""])


def listed(field: Field) -> bool:
    """Whether the compact layout writes a field as lines that begin with `- `."""
    inner = field.type.item if isinstance(field.type, Maybe) else field.type
    return isinstance(inner, ListOf) and inner.item == STR


# -- writing grammars ---------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """A text as a terminal."""
    return json.dumps(text, ensure_ascii=False)


def pattern(text: str) -> str:
    """A text within a regular expression between slashes."""
    return re.sub(r"([^\w\s])", r"\\\1", text, flags=re.ASCII).replace("\n", "\\n")


def json_of(schema: Mapping[str, Any], one_way: bool = False) -> str:
    """JSON of a schema; with `one_way` there is no choice about its spaces."""
    return f"%json {_dumped({'x-guidance': _SPACES, **_finite(schema)} if one_way else schema)}"


def _finite(schema: Any) -> Any:
    """A schema whose numbers have ends, so that each of them is one: `1e999` is none."""
    if isinstance(schema, list):
        return [_finite(s) for s in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {n: s if n in ("enum", "const", "required") else _finite(s) for n, s in schema.items()}
    kinds = schema.get("type")
    if "number" in (kinds if isinstance(kinds, list) else [kinds]):
        if not {"minimum", "exclusiveMinimum"} & schema.keys():
            made["minimum"] = -_MOST
        if not {"maximum", "exclusiveMaximum"} & schema.keys():
            made["maximum"] = _MOST
    return made


_MOST = 1e15


_SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "coerce_one_of": True}


def _dumped(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False)
