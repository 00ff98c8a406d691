"""Values out of XML elements, guided by a JSON schema: an element says nothing of whether it is a list or a text."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from lampc.ir.adapters.lax import DEPTH, Schema, Unfit, resolved


def elements(text: str) -> dict[str, list[ET.Element]]:
    """The outermost elements of a text by name. Raises ValueError if it is no XML.

    A document type, and with it entities of the text's own, cannot stand within an element: it is an error.
    """
    try:
        return grouped(ET.fromstring(f"<answer_root>{text}</answer_root>"))
    except (ET.ParseError, ValueError) as e:
        raise ValueError(str(e)) from None


def grouped(element: ET.Element) -> dict[str, list[ET.Element]]:
    """Children by name; an `entry` goes by its key."""
    out: dict[str, list[ET.Element]] = {}
    for child in element:
        name = child.attrib.get("key", child.tag) if child.tag == "entry" else child.tag
        out.setdefault(name, []).append(child)
    return out


def value_of(found: list[ET.Element], schema: Schema, defs: Schema, depth: int = 0) -> Any:
    """What elements of one name hold. Texts are left as texts: whoever knows the type casts them."""
    if depth > DEPTH:
        raise Unfit("nested too deeply")
    schema = resolved(schema, defs)
    first = found[0]
    text = (first.text or "").strip()
    if choices := schema.get("anyOf"):
        if {"type": "null"} in choices and not len(first) and not text:
            return None
        real = [c for c in choices if c.get("type") != "null"]
        chosen = real[0]
        if len(first):
            chosen = next((c for c in real if c.get("type") != "string"), chosen)
        schema = chosen  # not what it refers to: DSPy reads the texts of such a model's optional fields as texts
    if schema.get("type") == "array":
        if len(found) == 1 and not len(first) and (not text or text.startswith("[")):
            return text or []
        items = grouped(first).get("item", []) if len(found) == 1 else []
        return [value_of([e], schema.get("items", {}), defs, depth + 1) for e in items or found]
    if schema.get("type") == "string" and len(first):
        return (first.text or "") + "".join(ET.tostring(child, encoding="unicode") for child in first)
    children = grouped(first)
    if not children:
        if schema.get("type") == "object" and not text:
            return {}
        texts = [(e.text or "").strip() for e in found]
        return texts[0] if len(texts) == 1 else texts
    known = schema.get("properties", {})
    other = schema.get("additionalProperties", {})
    other = other if isinstance(other, dict) else {}
    return {n: value_of(es, known.get(n, other), defs, depth + 1) for n, es in children.items()}
