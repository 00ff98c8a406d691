"""The `xml` layout: each field in an element of its name, lists and objects of outputs as elements within.

    <answer>                <people><item><name>Ada</name><age>36</age></item></people>
    red
    </answer>

The texts are those of DSPy's XMLAdapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.dialogue import Dialogue
from lampc.ir.adapters.lax import Schema, Unfit, fit
from lampc.ir.adapters.schema import is_text, json_schema
from lampc.ir.adapters.strict import accept, finish
from lampc.ir.adapters.wording import STRUCTURE, both_described, placeholder, plain_value
from lampc.ir.adapters.xml_values import elements, value_of
from lampc.ir.content import Field, Signature
from lampc.ir.types import MEDIA, ListOf, MapOf, Maybe, Record


class Xml(Dialogue):
    """See the module's text."""

    def structure(self, signature: Signature) -> str:
        ins = "\n\n".join(f"<{f.name}>\n{placeholder(f, False)}\n</{f.name}>" for f in signature.inputs)
        outs = "\n\n".join(
            outline(f) if nested(f) else f"<{f.name}>\n{placeholder(f, True)}\n</{f.name}>" for f in signature.outputs
        )
        return both_described(signature) + "\n" + "\n\n".join((STRUCTURE, ins, outs))

    def reminder(self, signature: Signature) -> str:
        fields = ", then ".join(f"`<{f.name}>`" for f in signature.outputs)
        outlines = [outline(f) for f in signature.outputs if nested(f)]
        more = f" Use this nested XML structure: {' '.join(outlines)}" if outlines else ""
        return f"Respond with the corresponding output fields wrapped in XML tags {fields}.{more}"

    def head(self, field: Field) -> str:
        return f"<{field.name}>\n"

    def tail(self, field: Field) -> str:
        return f"\n</{field.name}>"

    def answer(self, signature: Signature, values: Mapping[str, Any], missing: Any) -> str:
        return "\n\n".join(self._output(f, values.get(f.name, missing)) for f in signature.outputs).strip()

    def _output(self, field: Field, value: Any) -> str:
        plain = plain_value(value, field)
        if nested(field) and isinstance(plain, dict | list):
            return element(plain, field.name)
        text = self.value(value, field)
        return self.head(field) + (escaped(text) if is_text(field) else text) + self.tail(field)

    def accept(self, signature: Signature, text: str) -> dict[str, Any]:
        try:
            found = elements(text)
        except ValueError as e:
            raise ParseFailure(f"the answer is no XML: {e}", text, {}) from None
        out: dict[str, Any] = {}
        for f in signature.outputs:
            if f.name not in found:
                continue
            try:
                out[f.name] = read_elements(found[f.name], f)
            except Unfit as e:
                raise ParseFailure(f"output `{f.name}`: {e}", text, out) from None
        return finish(signature, out, text)


def read_elements(found: list[Any], field: Field) -> Any:
    """The value of a field out of the elements of its name. Raises Unfit."""
    schema = json_schema(field)
    defs = schema.get("$defs", {})
    refused = "nothing to read"
    for candidate in [schema, *schema.get("anyOf", [])]:
        try:
            value = value_of(found, candidate, defs)
            try:
                return accept(value, field)
            except Unfit:
                return fit(value, schema)
        except Unfit as e:
            refused = str(e)
    raise Unfit(refused)


def nested(field: Field) -> bool:
    """Whether an output is written as elements within its element."""
    if field.shape is not None:
        return field.shape.nested
    inner = field.type.item if isinstance(field.type, Maybe) else field.type
    if isinstance(inner, ListOf) and inner.item == MEDIA:
        return False
    return isinstance(inner, ListOf | MapOf | Record)


def outline(field: Field) -> str:
    """The elements that a nested output has, `...` for their texts."""
    schema = json_schema(field)
    return _outline(field.name, schema, schema.get("$defs", {}), frozenset())


def _outline(tag: str, schema: Schema, defs: Schema, seen: frozenset[str]) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        if name in seen:
            return f"<{tag}>...</{tag}>"
        return _outline(tag, defs[name], defs, seen | {name})
    if choices := schema.get("anyOf"):
        chosen = next((c for c in choices if c.get("type") != "null"), choices[0])
        return _outline(tag, chosen, defs, seen)
    if schema.get("type") == "array":
        inner = _outline("item", schema.get("items", {}), defs, seen)
    else:
        inner = "".join(_outline(n, s, defs, seen) for n, s in schema.get("properties", {}).items())
    return f"<{tag}>{inner or '...'}</{tag}>"


def element(value: Any, tag: str, key: str | None = None) -> str:
    """A value as an element; a key that is no name of an element stands in an attribute of `entry`."""
    start = tag if key is None else f"{tag} key={_quoted(key)}"
    if value is None or (isinstance(value, list) and not value):
        return f"<{start} />"
    if isinstance(value, list):
        inner = "".join(element(v, "item") for v in value)
    elif isinstance(value, dict):
        inner = "".join(
            element(v, str(k)) if _is_name(str(k)) else element(v, "entry", str(k)) for k, v in value.items()
        )
    else:
        inner = escaped(str(value))
    return f"<{start}>{inner}</{tag}>"


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _is_name(key: str) -> bool:
    return (key[:1] + key[1:].replace("-", "_").replace(".", "_")).isidentifier()


def _quoted(text: str) -> str:
    """An attribute's value."""
    from xml.sax.saxutils import quoteattr  # brings half of urllib with it

    return quoteattr(text)
