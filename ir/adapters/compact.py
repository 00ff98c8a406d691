"""The `compact` layout, ours: few tokens, one line a field.

    system     Name the animal.
               text -> animal: str hints in brackets
    user       text: the dog saw a red car
    assistant  animal: dog

A list of strings is one `- item` a line; other structured values are JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lampc.ir.adapters import arranged
from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.dialogue import turns_of
from lampc.ir.adapters.schema import is_history, told
from lampc.ir.adapters.tolerant import read_tolerantly
from lampc.ir.adapters.values import Uncastable, cast, hint, plain
from lampc.ir.attrs import thaw
from lampc.ir.content import Demo, Field, Signature
from lampc.ir.hostvalues import completed
from lampc.ir.media import marked
from lampc.ir.prompt import Demos, Guide, Input, Instruction, Output, Prompt, Segment, Text, Turn
from lampc.ir.types import STR, ListOf, Maybe

_EMPTY = "- none"
"""A list of no strings."""


class Compact:
    """See the module's text."""

    strict = False
    between = "\n"
    blocks: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.name = "compact"

    def render(self, signature: Signature, predictor: str) -> Prompt:
        if self.blocks:
            return arranged.render(self, signature, predictor)
        turns = [
            Turn("system", tuple(self.task(signature, predictor))),
            Turn("demos", (Demos(predictor, self.name),)),
        ]
        user: list[Segment] = []
        for i, f in enumerate(signature.inputs):
            if is_history(f):
                turns.append(Turn("history", (Input(i, f, self.name),)))
            elif f.given:
                user += self.slot(i, f, first=not user)
        turns.append(Turn("user", tuple(user)))
        turns.append(Turn("assistant", (Output(tuple(f.name for f in signature.outputs)),)))
        return Prompt(tuple(turns))

    def task(self, signature: Signature, predictor: str) -> list[Segment]:
        """What is said of the task."""
        return [Instruction(predictor, self.name), Guide(_guide(told(signature)))]

    def slot(self, index: int, field: Field, first: bool) -> list[Segment]:
        """The segments of one input; a list begins on a line of its own, so no space follows the colon."""
        head = f"{field.name}:" + ("" if _is_str_list(field) else " ")
        return [Text(("" if first else self.between) + head), Input(index, field, self.name)]

    def reminder(self, signature: Signature) -> str:
        """Nothing is said at the end of a request."""
        return ""

    def instruction(self, text: str) -> str:
        return text.strip() + "\n" if text.strip() else ""

    def demo(self, signature: Signature, demo: Demo) -> list[tuple[str, str]]:
        values: dict[str, Any] = thaw(demo.values)
        signature = arranged.in_order(signature, self.blocks)
        given = [f for f in signature.inputs if f.name in values and not is_history(f)]
        made = [f for f in signature.outputs if f.name in values]
        if not given or not made:
            return []
        return [("user", self._lines(given, values)), ("assistant", self._lines(made, values))]

    def order(self, signature: Signature, demos: tuple[Demo, ...]) -> tuple[Demo, ...]:
        return demos

    def history(self, signature: Signature, value: Any) -> list[tuple[str, str]]:
        out = []
        signature = arranged.in_order(signature, self.blocks)
        for message in turns_of(value):
            for role, fields in (("user", signature.inputs), ("assistant", signature.outputs)):
                if shown := [f for f in fields if f.name in message and not is_history(f)]:
                    out.append((role, self._lines(shown, message)))
        return out

    def _lines(self, fields: list[Field], values: Mapping[str, Any]) -> str:
        return "\n".join(_joined(f.name, self.value(values[f.name], f)) for f in fields)

    def value(self, value: Any, field: Field) -> str:
        item = field.type.item if isinstance(field.type, Maybe) else field.type
        value = marked(value)
        if isinstance(item, ListOf) and item.item == STR and isinstance(value, list):
            return "".join(f"\n- {plain(v)}" for v in value) or f"\n{_EMPTY}"
        return plain(value)

    def parse(self, signature: Signature, text: str) -> dict[str, Any]:
        return read_tolerantly(self.accept, signature, text)

    def accept(self, signature: Signature, text: str) -> dict[str, Any]:
        """Outputs written in this layout. Raises ParseFailure."""
        names = [f.name for f in signature.outputs]
        heads = re.compile(r"^[^\S\n]*(" + "|".join(map(re.escape, names)) + r")[^\S\n]*:", re.MULTILINE)
        parts: dict[str, str] = {}
        found = list(heads.finditer(text))
        ends = [*(h.start() for h in found[1:]), len(text)]
        for head, end in zip(found, ends, strict=False):
            parts.setdefault(head.group(1), text[head.end() : end])
        if not found and len(names) == 1:
            parts[names[0]] = text  # a model that leaves the only field's name out is understood
        return read(signature, parts, text)


def read(signature: Signature, parts: dict[str, str], text: str) -> dict[str, Any]:
    """Cast each output's part. Raises ParseFailure naming the first output that is missing or wrong."""
    out: dict[str, Any] = {}
    for f in signature.outputs:
        if f.name not in parts:
            if f.optional():
                out[f.name] = f.absent()
                continue
            raise ParseFailure(f"output `{f.name}` is missing", text, out)
        if _is_str_list(f) and parts[f.name].strip() == _EMPTY:
            out[f.name] = []
            continue
        try:
            out[f.name] = completed(cast(parts[f.name], f.type), f.type)
        except Uncastable as e:
            raise ParseFailure(f"output `{f.name}`: {e}", text, out) from None
    return out


def _joined(name: str, value: str) -> str:
    return f"{name}:{value}" if value.startswith("\n- ") else f"{name}: {value}"


def _is_str_list(field: Field) -> bool:
    item = field.type.item if isinstance(field.type, Maybe) else field.type
    return isinstance(item, ListOf) and item.item == STR


def _guide(signature: Signature) -> str:
    def shown(f: Field) -> str:
        return f"{f.name} ({hint(f.type)})" if hint(f.type) else f.name

    line = f"{', '.join(f.name for f in signature.inputs)} -> {', '.join(map(shown, signature.outputs))}"
    described = [f"- {f.name}: {f.desc}" for f in (*signature.inputs, *signature.outputs) if f.desc]
    return "\n".join([line, *described])
