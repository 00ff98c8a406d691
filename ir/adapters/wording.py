"""What layouts say alike, word for word as DSPy 3.4 says it: descriptions of fields, notes on types, texts of values.

The formats are described in DSPy's documentation of its adapters; tests hold these texts against DSPy's own.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from lampc.ir.adapters.schema import is_text, json_schema, name_of, options_of, type_first
from lampc.ir.content import Field, Signature
from lampc.ir.media import marked
from lampc.ir.types import BOOL, FLOAT, INT

STRUCTURE = "All interactions will be structured in the following way, with the appropriate values filled in."
OBJECTIVE = "In adhering to this structure, your objective is: "
INCOMPLETE = "This is an example of the task, though some input or output fields are not supplied."
MISSING = "Not supplied for this particular example. "
_CALLS = ' (must be a JSON object like {"tool_calls": [{"name": "...", "args": {...}}]})'


def described(fields: Sequence[Field]) -> str:
    """The fields, numbered, with their types, descriptions and constraints."""
    lines = []
    for i, f in enumerate(fields, 1):
        about = f.shape.about if f.shape is not None else ()
        desc = f.desc + "".join(f"\n    Type description of {name}: {text}" for name, text in about if text)
        line = f"{i}. `{f.name}` ({name_of(f)}): {desc}"
        lines.append(line + (f"\nConstraints: {f.constraints}" if f.constraints else ""))
    return "\n".join(lines).strip()


def both_described(signature: Signature) -> str:
    """Inputs and outputs, as the systems' messages begin with them."""
    ins, outs = described(signature.inputs), described(signature.outputs)
    return f"Your input fields are:\n{ins}\nYour output fields are:\n{outs}"


def placeholder(field: Field, output: bool) -> str:
    """`{name}`, for outputs with a note on what may stand there."""
    note = _note(field) if output else ""
    return f"{{{field.name}}}" + (" " * 8 + f"# note: the value you produce {note}" if note else "")


def _note(field: Field) -> str:
    form = field.shape.form if field.shape is not None else ""
    options = options_of(field)
    if is_text(field) or form in ("text", "code"):
        return ""
    if form == "enum":
        return "must be one of: " + "; ".join(map(str, options))
    if options:
        return "must exactly match (no extra characters) one of: " + "; ".join(map(str, options))
    if field.shape is None and field.type == BOOL:
        return "must be True or False"
    if field.shape is None and field.type in (INT, FLOAT):
        return f"must be a single {name_of(field)} value"
    return "must adhere to the JSON schema: " + json.dumps(type_first(json_schema(field)), ensure_ascii=False)


def form(field: Field) -> str:
    """The reminder of an output's type at the end of a request; nothing for texts."""
    if field.shape is not None and field.shape.name == "ToolCalls":
        return _CALLS
    return "" if is_text(field) else f" (must be formatted as a valid Python {name_of(field)})"


def indented(instruction: str) -> str:
    """An instruction, each line eight columns in."""
    return "".join("\n" + " " * 8 + line for line in textwrap.dedent(instruction).splitlines())


# -- values -------------------------------------------------------------------------------------------------


def plain_value(value: Any, field: Field) -> Any:
    """A value ready to be written: media as marks, calls of tools without what only the program wants to know."""
    if field.shape is not None and field.shape.name == "ToolCalls" and isinstance(value, Mapping):
        calls = value.get("tool_calls", ())
        value = {**value, "tool_calls": [{"name": c["name"], "args": c.get("args", {})} for c in calls]}
        if value.get("tool_call_results") is None:
            value.pop("tool_call_results", None)
    return marked(value)


def written(value: Any, field: Field) -> str:
    """Text of a value: lists and objects as JSON, a list under a text in brackets, all else as `str` has it."""
    if isinstance(value, list | tuple) and is_text(field):
        return _bracketed([marked(v) for v in value])
    value = plain_value(value, field)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _bracketed(items: list[Any]) -> str:
    def quoted(item: Any) -> str:
        text = str(item)
        if not any(c in text for c in "\n«»"):
            return f"«{text}»"
        return "«««\n    " + text.replace("\n", "\n    ") + "\n»»»"

    if not items:
        return "N/A"
    if len(items) == 1:
        return quoted(items[0])
    return "\n".join(f"[{i}] {quoted(x)}" for i, x in enumerate(items, 1))
