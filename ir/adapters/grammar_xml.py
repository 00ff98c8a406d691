"""The grammar of answers in XML: an element for each output, elements within for lists and objects of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lampc.ir.adapters.lax import resolved
from lampc.ir.adapters.schema import is_text, json_schema, options_of
from lampc.ir.adapters.xml import escaped, nested
from lampc.ir.content import Field, Signature

_TEXT = r"([^<&]|&(amp|lt|gt|quot|apos);)*"
_NUMBERS = {"integer": r"/-?[0-9]{1,300}/", "number": r"/-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][-+]?[0-9]{1,3})?/"}


def xml_rules(signature: Signature) -> str:
    made = _Rules()
    parts = [made.output(f) for f in signature.outputs]
    between = f" {json.dumps(chr(10) * 2)} "
    return "\n".join([f"start: {between.join(parts)}", *made.lines, ""])


class _Rules:
    """Rules under construction; elements of one name and type share one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[tuple[str, str], str] = {}

    def output(self, field: Field) -> str:
        schema = json_schema(field)
        if nested(field):
            made = self.nested(field.name, schema, schema.get("$defs", {}))
            nothing = json.dumps(f"<{field.name}>\nNone\n</{field.name}>")  # as the layout writes it in demos
            return f"({made} | {nothing})" if {"type": "null"} in schema.get("anyOf", ()) else made
        start, name = json.dumps(f"<{field.name}>\n"), _name(field.name)
        if options := options_of(field):
            inner = " | ".join(json.dumps(str(o), ensure_ascii=False) for o in options)
        elif is_text(field):  # with its end in one lexeme: a text takes line breaks too
            return f"{start} {self.rule(f'/{_TEXT}{chr(92)}n<{chr(92)}/{name}>/')}"
        else:
            plain = _plain(schema)
            if plain is None:  # written as it is: all up to the end of the element
                return f"{start} {self.rule(f'/(?s:.*){chr(92)}n<{chr(92)}/{name}>/', True)}"
            inner = plain
        return f"{start} {self.rule(inner)} {json.dumps(chr(10) + f'</{field.name}>')}"

    def nested(self, tag: str, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
        if not _is_open(schema, defs, ()):
            return self.element(tag, schema, defs)
        free = self.rule(f"/(?s:.*)<{chr(92)}/{_name(tag)}>/", True)
        return f"({json.dumps(f'<{tag}>')} {free} | {json.dumps(f'<{tag} />')})"

    def rule(self, body: str, lazy: bool = False) -> str:
        name = f"r{len(self.lines)}"
        self.lines.append(f"{name}{'[lazy]' if lazy else ''}: {body}")
        return name

    def element(self, tag: str, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
        spot = (tag, json.dumps(schema))
        if spot in self.names:
            return self.names[spot]
        name = self.names[spot] = f"e{len(self.names)}"
        place = len(self.lines)
        self.lines.append("")
        self.lines[place] = f"{name}: {self._element(tag, resolved(schema, defs), defs)}"
        return name

    def _element(self, tag: str, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
        start, end, empty = (json.dumps(t) for t in (f"<{tag}>", f"</{tag}>", f"<{tag} />"))
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return " | ".join(self.element(tag, c, defs) for c in choices)
        match schema.get("type"):
            case "null":
                return empty
            case "array":
                item = self.element("item", schema.get("items", {}), defs)
                return f"{start} {item}+ {end} | {empty}"
            case "object":
                needed = schema.get("required", ())
                parts = [
                    self.element(n, s, defs) + ("" if n in needed else "?") for n, s in schema["properties"].items()
                ]
                return f"{start} {' '.join(parts)} {end}"
        return f"{start} {self.rule(_scalar(schema))} {end}"


def _is_open(schema: Mapping[str, Any], defs: Mapping[str, Any], seen: tuple[str, ...]) -> bool:
    """Whether values hold what has no elements known before: keys of any name, values of any type."""
    if (name := str(schema.get("$ref", ""))) and name in seen:
        return False
    seen, schema = (*seen, name), resolved(schema, defs)
    inner = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("properties", {}).values()]
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema or not schema.get("items"):
            return True
        inner.append(schema["items"])
    elif (kind == "object" and not schema.get("properties")) or (kind is None and not inner and "enum" not in schema):
        return "const" not in schema
    return any(_is_open(s, defs, seen) for s in inner)


def _scalar(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        options = schema.get("enum", [schema.get("const")])
        return " | ".join(json.dumps(escaped(str(o)), ensure_ascii=False) for o in options)
    kind = str(schema.get("type"))
    return '"True" | "False" | "true" | "false"' if kind == "boolean" else _NUMBERS.get(kind, f"/{_TEXT}/")


def _plain(schema: Mapping[str, Any]) -> str | None:
    """A value that is no text of its own and stands in one piece; None for all else."""
    if schema.get("type") in ("integer", "number", "boolean") and "enum" not in schema:
        return _scalar(schema)
    return None


def _name(tag: str) -> str:
    return re.sub(r"([^\w])", r"\\\1", tag, flags=re.ASCII)
