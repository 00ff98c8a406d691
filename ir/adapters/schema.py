"""Types of fields as prompts name them, and as JSON schemas.

What a field's `shape` says goes first; without one the IR type says it all, in the words that pydantic has for the
same type.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lampc.ir.attrs import thaw
from lampc.ir.content import Field, Signature
from lampc.ir.types import STR, Choice, ListOf, MapOf, Maybe, Record, Scalar, Type, left_out

_WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "none": "null"}


@functools.lru_cache(maxsize=4096)
def json_schema(field: Field) -> Mapping[str, Any]:
    """JSON schema of a field's values, keys in the order of declaration. Not to be changed."""
    if field.shape is not None and field.shape.schema is not None:
        made: dict[str, Any] = thaw(field.shape.schema)
        return made
    if field.shape is not None and field.shape.options:
        return {"enum": [thaw(o) for o in field.shape.options]}
    return schema(field.type)


def schema(t: Type) -> dict[str, Any]:
    """JSON schema of a type."""
    match t:
        case Scalar(kind):
            return {"type": _WORDS[kind]} if kind in _WORDS else {}
        case Choice((option,)):
            return {"const": option, "type": "string"}
        case Choice(options):
            return {"enum": list(options), "type": "string"}
        case ListOf(item):
            return {"items": schema(item), "type": "array"}
        case Maybe(item):
            return {"anyOf": [schema(item), {"type": "null"}]}
        case MapOf(item):
            return {"additionalProperties": schema(item) or True, "type": "object"}
        case Record(()):
            return {"additionalProperties": True, "type": "object"}
        case Record(fields):
            needed = [n for n, _ in fields if n not in left_out(t)]
            return {"properties": {n: schema(x) for n, x in fields}, "required": needed, "type": "object"}
    return {}


def type_first(schema: Any) -> Any:
    """The schema as notes in prompts have it: in each object `type` first, then by the alphabet."""
    if isinstance(schema, Mapping):
        return {k: type_first(v) for k, v in sorted(schema.items(), key=lambda kv: (kv[0] != "type", kv[0]))}
    return [type_first(v) for v in schema] if isinstance(schema, list) else schema


def outputs_schema(signature: Signature) -> dict[str, Any]:
    """JSON schema of an object of all outputs, references among them in one place."""
    properties: dict[str, Any] = {}
    defs: dict[str, Any] = {}
    for f in signature.outputs:
        own = dict(json_schema(f))
        defs |= own.pop("$defs", {})
        properties[f.name] = own
    needed = [f.name for f in signature.outputs if not f.optional()]
    out = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    return {**out, "$defs": defs} if defs else out


def option(value: Any) -> Any:
    """An endpoint's option that is no JSON, as JSON: a class of pydantic, as the form of answers that it stands for.

    Raises TypeError for another value.
    """
    if hasattr(value, "model_json_schema"):
        form = {"name": value.__name__, "schema": value.model_json_schema(), "strict": True}
        return {"type": "json_schema", "json_schema": form}
    raise TypeError(f"an option of an endpoint must be JSON, not {type(value).__name__}")


def name_of(field: Field) -> str:
    """The type of a field as Python writes it, and as prompts show it."""
    if field.shape is not None:
        return "str" if field.shape.form == "text" else field.shape.name
    return type_name(field.type)


def type_name(t: Type) -> str:
    """A type as Python writes it."""
    match t:
        case Choice(options):
            return f"Literal[{', '.join(map(_quoted, options))}]"
        case ListOf(item):
            return f"list[{type_name(item)}]"
        case MapOf(item, key):
            return f"dict[{type_name(key)}, {type_name(item)}]"
        case Maybe(item):
            return f"Union[{type_name(item)}, NoneType]"
        case Record():
            return "dict[str, Any]"
        case Scalar("any"):
            return "Any"
        case Scalar("none"):
            return "NoneType"
        case Scalar("media"):
            return "Image"
    return str(t)


def _quoted(option: str) -> str:
    """As DSPy quotes: double quotes only around single ones."""
    if "'" not in option:
        return f"'{option}'"
    return f'"{option}"' if '"' not in option else "'" + option.replace("'", "\\'") + "'"


def is_text(field: Field) -> bool:
    """Whether a field is plainly a `str`."""
    return field.type == STR and field.shape is None


def is_history(field: Field) -> bool:
    return field.shape is not None and field.shape.form == "history"


HINT = "hint"
"""Form of an input that stands in the message but is not described: what is before it is as without it."""


def told(signature: Signature) -> Signature:
    """The signature as the model is told of it: without hints."""
    kept = tuple(f for f in signature.inputs if f.shape is None or f.shape.form != HINT)
    return signature if len(kept) == len(signature.inputs) else replace(signature, inputs=kept)


def options_of(field: Field) -> tuple[Any, ...]:
    """The values that a closed field may have, as JSON values; none if it is open."""
    if field.shape is not None:
        return tuple(thaw(o) for o in field.shape.options) if field.shape.form in ("literal", "enum") else ()
    return field.type.options if isinstance(field.type, Choice) else ()
