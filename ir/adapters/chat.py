"""The `chat` layout: field markers `[[ ## name ## ]]`, the texts that DSPy's ChatAdapter sends.

The format is described in DSPy's documentation of its default adapter; texts are meant to be equal byte for
byte, so that demos and instructions tuned there mean the same here.
"""

from __future__ import annotations

import json
import re
from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.compact import read
from lampc.ir.attrs import thaw
from lampc.ir.content import Demo, Field, Signature
from lampc.ir.prompt import Demos, Guide, Input, Instruction, Output, Prompt, Segment, Text, Turn
from lampc.ir.types import STR, Choice, ListOf, MapOf, Maybe, Record, Scalar, Type

_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\]")
_INCOMPLETE = "This is an example of the task, though some input or output fields are not supplied."
_MISSING = "Not supplied for this particular example. "
_STRUCTURE = "All interactions will be structured in the following way, with the appropriate values filled in."
_OBJECTIVE = "In adhering to this structure, your objective is: "


class Chat:
    """See the module's text."""

    name = "chat"

    def render(self, signature: Signature, predictor: str) -> Prompt:
        system = (Guide(_guide(signature) + "\n" + _OBJECTIVE), Instruction(predictor, self.name))
        user: list[Segment] = []
        for i, f in enumerate(signature.inputs):
            user += [Text(("\n\n" if i else "") + f"[[ ## {f.name} ## ]]\n"), Input(i, f, self.name)]
        user.append(Text("\n\n" + _reminder(signature)))
        return Prompt(
            (
                Turn("system", system),
                Turn("demos", (Demos(predictor, self.name),)),
                Turn("user", tuple(user)),
                Turn("assistant", (Output(tuple(f.name for f in signature.outputs)),)),
            )
        )

    def instruction(self, text: str) -> str:
        return "".join("\n" + " " * 8 + line for line in text.splitlines())

    def order(self, signature: Signature, demos: tuple[Demo, ...]) -> tuple[Demo, ...]:
        whole = [d for d in demos if _complete(signature, d)]
        return (*(d for d in demos if not _complete(signature, d)), *whole)

    def demo(self, signature: Signature, demo: Demo) -> list[tuple[str, str]]:
        has_in = any(f.name in demo.values for f in signature.inputs)
        has_out = any(f.name in demo.values for f in signature.outputs)
        if not has_in or not has_out:
            return []
        given = [f for f in signature.inputs if f.name in demo.values]
        user = "\n\n".join(self._block(f, thaw(demo.values[f.name])) for f in given).strip()
        if not _complete(signature, demo):
            user = f"{_INCOMPLETE}\n\n{user}"
        blocks = [
            self._block(f, thaw(demo.values[f.name])) if f.name in demo.values else f"[[ ## {f.name} ## ]]\n{_MISSING}"
            for f in signature.outputs
        ]
        return [("user", user), ("assistant", "\n\n".join(blocks).strip() + "\n\n[[ ## completed ## ]]\n")]

    def _block(self, field: Field, value: Any) -> str:
        return f"[[ ## {field.name} ## ]]\n{self.value(value, field)}"

    def value(self, value: Any, field: Field) -> str:
        if isinstance(value, list) and field.type == STR:
            return _bracketed(value)
        if isinstance(value, list | dict):
            return json.dumps(value, ensure_ascii=False)
        return str(value)

    def parse(self, signature: Signature, text: str) -> dict[str, Any]:
        parts: dict[str, list[str]] = {}
        current: list[str] | None = None
        for line in text.splitlines():
            head = _HEADER.match(line.strip())
            if head:
                fresh: list[str] = []
                current = parts.setdefault(head.group(1), fresh)
                if current is not fresh:
                    current = []  # the first occurrence of a field wins
                rest = line.strip()[head.end() :].strip()
                if rest:
                    current.append(rest)
            elif current is not None:
                current.append(line)
        wanted = {n: "\n".join(lines).strip() for n, lines in parts.items()}
        if not text.strip():
            raise ParseFailure("the model wrote nothing", text, {})
        return read(signature, wanted, text)


def _complete(signature: Signature, demo: Demo) -> bool:
    return all(demo.values.get(f.name) is not None for f in (*signature.inputs, *signature.outputs))


def _guide(signature: Signature) -> str:
    ins = "Your input fields are:\n" + _described(signature.inputs)
    outs = "Your output fields are:\n" + _described(signature.outputs)
    blocks = [f"[[ ## {f.name} ## ]]\n{{{f.name}}}" for f in signature.inputs]
    blocks += [f"[[ ## {f.name} ## ]]\n{{{f.name}}}{_note(f.type)}" for f in signature.outputs]
    blocks.append("[[ ## completed ## ]]")
    return f"{ins}\n{outs}\n{_STRUCTURE}\n\n" + "\n\n".join(blocks)


def _described(fields: tuple[Field, ...]) -> str:
    lines = []
    for i, f in enumerate(fields, 1):
        line = f"{i}. `{f.name}` ({type_name(f.type)}): {f.desc}"
        lines.append(line + (f"\nConstraints: {f.constraints}" if f.constraints else ""))
    return "\n".join(lines).strip()


def _reminder(signature: Signature) -> str:
    shown = [f"`[[ ## {f.name} ## ]]`{_form(f.type)}" for f in signature.outputs]
    fields = ", then ".join(shown)
    return (
        f"Respond with the corresponding output fields, starting with the field {fields}, "
        "and then ending with the marker for `[[ ## completed ## ]]`."
    )


def _form(t: Type) -> str:
    return "" if t == STR else f" (must be formatted as a valid Python {type_name(t)})"


def _note(t: Type) -> str:
    match t:
        case Scalar("str"):
            return ""
        case Scalar("bool"):
            note = "must be True or False"
        case Scalar("int") | Scalar("float"):
            note = f"must be a single {type_name(t)} value"
        case Choice(options):
            note = "must exactly match (no extra characters) one of: " + "; ".join(options)
        case _:
            note = "must adhere to the JSON schema: " + json.dumps(schema(t), ensure_ascii=False)
    return " " * 8 + f"# note: the value you produce {note}"


def type_name(t: Type) -> str:
    """The type as Python writes it."""
    match t:
        case Choice(options):
            return f"Literal[{', '.join(map(repr, options))}]"
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
    return str(t)


def schema(t: Type) -> dict[str, Any]:
    """JSON schema of a type, keys in the order type, then alphabetical."""
    match t:
        case Scalar(kind):
            names = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "none": "null"}
            return {"type": names[kind]} if kind in names else {}
        case Choice(options):
            return {"type": "string", "enum": list(options)}
        case ListOf(item):
            return {"type": "array", "items": schema(item)}
        case Maybe(item):
            return {"anyOf": [schema(item), {"type": "null"}]}
        case MapOf(item):
            return {"type": "object", "additionalProperties": schema(item)}
        case Record(()):
            return {"type": "object", "additionalProperties": True}
        case Record(fields):
            return {
                "type": "object",
                "properties": {n: schema(x) for n, x in fields},
                "required": [n for n, x in fields if not isinstance(x, Maybe)],
            }
    return {}


def _bracketed(items: list[Any]) -> str:
    def quoted(item: Any) -> str:
        text = str(item)
        if not any(c in text for c in "\n«»"):
            return f"«{text}»"
        return "«««\n" + "\n".join(f"    {line}" for line in text.splitlines()) + "\n»»»"

    if not items:
        return "N/A"
    if len(items) == 1:
        return quoted(items[0])
    return "\n".join(f"[{i}] {quoted(x)}" for i, x in enumerate(items, 1))


__all__ = ["Chat", "schema", "type_name"]
