"""Types in few tokens: `string`, `int[]`, `"a" or "b" or null`, records field by field."""

from __future__ import annotations

from lampc.ir.content import Field
from lampc.ir.types import Choice, ListOf, MapOf, Maybe, Record, Scalar, Type

_WORDS = {"str": "string", "bool": "boolean", "any": "Any"}
INDENT = "  "


def sketch(field: Field) -> str:
    """The compact schema of a field's values."""
    return field.shape.sketch if field.shape is not None and field.shape.sketch else sketched(field.type)


def sketched(t: Type, indent: int = 0) -> str:
    """The compact schema of a type; what follows the first line is indented by `indent` steps."""
    match t:
        case Scalar(kind):
            return _WORDS.get(kind, kind)
        case Choice(options):
            return " or ".join(f'"{o}"' for o in options)
        case Maybe(item):
            return f"{sketched(item, indent)} or null"
        case ListOf(Record((_, *_)) as item):
            return f"[\n{INDENT * (indent + 1)}{sketched(item, indent + 1)}\n{INDENT * indent}]"
        case ListOf(item):
            return f"{sketched(item, indent)}[]"
        case MapOf(item, key):
            return f"dict[{sketched(key, indent)}, {sketched(item, indent)}]"
        case Record(()):
            return "dict[string, Any]"
        case Record(fields):
            lines = [f"{INDENT * (indent + 1)}{n}: {sketched(x, indent + 1)}," for n, x in fields]
            return "\n".join(["{", *lines, f"{INDENT * indent}}}"])
    return str(t)
