"""The two prompt layouts firefly is trained on: the compact one and the chat-marker one.

A prompt is a list of messages; the assistant messages are what the model has
to write.  The same functions serve training, evaluation and tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

Value = str | int | bool | list[str]
Message = tuple[str, str]
"""Role and content."""


@dataclass(frozen=True)
class Field:
    """One input or output; ``type`` is str, int, float, bool, list or literal."""

    name: str
    type: str = "str"
    options: tuple[str, ...] = ()
    desc: str = ""

    def hint(self) -> str:
        """What the compact layout says about a type that is not text."""
        if self.type == "literal":
            return f" (one of: {'; '.join(self.options)})"
        return {"int": " (int)", "float": " (float)", "bool": " (true or false)", "list": " (list of str)"}.get(
            self.type, ""
        )

    def python(self) -> str:
        """The annotation as the chat layout prints it."""
        if self.type == "literal":
            return "Literal[" + ", ".join(f"'{option}'" for option in self.options) + "]"
        return {"list": "list[str]"}.get(self.type, self.type)

    def note(self) -> str:
        """The remark that the chat layout puts behind an output."""
        start = "        # note: the value you produce "
        if self.type == "bool":
            return start + "must be True or False"
        if self.type in ("int", "float"):
            return start + f"must be a single {self.type} value"
        if self.type == "literal":
            return start + "must exactly match (no extra characters) one of: " + "; ".join(self.options)
        if self.type == "list":
            return start + ('must adhere to the JSON schema: {"type": "array", "items": {"type": "string"}}')
        return ""


@dataclass(frozen=True)
class Signature:
    """Inputs, outputs and the instruction that connects them."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    instruction: str = ""


@dataclass(frozen=True)
class Example:
    """Values of the inputs and outputs, in the order of the signature; ``None`` is not shown."""

    inputs: tuple[Value | None, ...]
    outputs: tuple[Value | None, ...]


def compact_value(name: str, value: Value) -> str:
    """``name: value``; a list is one item a line."""
    if isinstance(value, list):
        return f"{name}:" + "".join(f"\n- {item}" for item in value)
    if isinstance(value, bool):
        return f"{name}: {'true' if value else 'false'}"
    return f"{name}: {value}"


def compact(signature: Signature, demos: list[Example], example: Example) -> list[Message]:
    """The compact layout, the last message being the wanted answer."""
    arrow = ", ".join(field.name for field in signature.inputs) + " -> "
    arrow += ", ".join(field.name + field.hint() for field in signature.outputs)
    lines = [signature.instruction] if signature.instruction else []
    lines.append(arrow)
    fields = signature.inputs + signature.outputs
    lines += [f"- {field.name}: {field.desc}" for field in fields if field.desc]
    messages = [("system", "\n".join(lines))]
    for item in [*demos, example]:
        for role, names, values in (
            ("user", signature.inputs, item.inputs),
            ("assistant", signature.outputs, item.outputs),
        ):
            pairs = zip(names, values, strict=True)
            body = (compact_value(field.name, value) for field, value in pairs if value is not None)
            messages.append((role, "\n".join(body)))
    return messages


def chat_value(value: Value) -> str:
    """A value as the chat layout prints it: lists as JSON, the rest by ``str``."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def chat(signature: Signature, demos: list[Example], example: Example) -> list[Message]:
    """The layout with ``[[ ## name ## ]]`` markers that DSPy programs use."""

    def listing(fields: tuple[Field, ...]) -> str:
        lines = [
            f"{number}. `{field.name}` ({field.python()}): {field.desc}" for number, field in enumerate(fields, start=1)
        ]
        return "\n".join(lines).strip()

    def block(fields: tuple[Field, ...], values: tuple[Value | None, ...]) -> str:
        pairs = ((f.name, value) for f, value in zip(fields, values, strict=True) if value is not None)
        return "\n\n".join(f"[[ ## {name} ## ]]\n{chat_value(value)}" for name, value in pairs)

    shape = [f"[[ ## {field.name} ## ]]\n{{{field.name}}}" for field in signature.inputs]
    shape += [f"[[ ## {field.name} ## ]]\n{{{field.name}}}{field.note()}" for field in signature.outputs]
    instruction = signature.instruction or default_instruction(signature)
    system = (
        f"Your input fields are:\n{listing(signature.inputs)}\n"
        f"Your output fields are:\n{listing(signature.outputs)}\n"
        "All interactions will be structured in the following way, with the appropriate values filled in."
        "\n\n" + "\n\n".join(shape) + "\n\n[[ ## completed ## ]]\n"
        "In adhering to this structure, your objective is: "
        + "".join(f"\n        {line}" for line in instruction.splitlines())
    )
    messages = [("system", system)]
    for demo in demos:
        messages.append(("user", block(signature.inputs, demo.inputs)))
        answer = block(signature.outputs, demo.outputs)
        messages.append(("assistant", answer + "\n\n[[ ## completed ## ]]\n"))
    typed = [
        f"`[[ ## {field.name} ## ]]`"
        + ("" if field.type == "str" else f" (must be formatted as a valid Python {field.python()})")
        for field in signature.outputs
    ]
    reminder = (
        f"Respond with the corresponding output fields, starting with the field {', then '.join(typed)},"
        " and then ending with the marker for `[[ ## completed ## ]]`."
    )
    messages.append(("user", f"{block(signature.inputs, example.inputs)}\n\n{reminder}"))
    answer = block(signature.outputs, example.outputs)
    messages.append(("assistant", answer + "\n\n[[ ## completed ## ]]"))
    return messages


def default_instruction(signature: Signature) -> str:
    """What DSPy says when the program says nothing."""
    inputs = ", ".join(f"`{field.name}`" for field in signature.inputs)
    outputs = ", ".join(f"`{field.name}`" for field in signature.outputs)
    return f"Given the fields {inputs}, produce the fields {outputs}."
