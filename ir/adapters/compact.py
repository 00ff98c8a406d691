"""The `compact` layout, ours: few tokens, one line a field.

    system     Name the animal.
               text -> animal: str hints in brackets
    user       text: the dog saw a red car
    assistant  animal: dog

A list of strings is one `- item` a line; other structured values are JSON.
"""

from __future__ import annotations

import re
from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.values import Uncastable, cast, hint, plain
from lampc.ir.content import Demo, Field, Signature
from lampc.ir.prompt import Demos, Guide, Input, Instruction, Output, Prompt, Segment, Text, Turn
from lampc.ir.types import STR, ListOf, Maybe


class Compact:
    """See the module's text."""

    name = "compact"

    def render(self, signature: Signature, predictor: str) -> Prompt:
        user: list[Segment] = []
        for i, f in enumerate(signature.inputs):
            user += [Text(("\n" if i else "") + f"{f.name}: "), Input(i, f, self.name)]
        return Prompt(
            (
                Turn("system", (Instruction(predictor, self.name), Guide(_guide(signature)))),
                Turn("demos", (Demos(predictor, self.name),)),
                Turn("user", tuple(_merged(user))),
                Turn("assistant", (Output(tuple(f.name for f in signature.outputs)),)),
            )
        )

    def instruction(self, text: str) -> str:
        return text.strip() + "\n" if text.strip() else ""

    def demo(self, signature: Signature, demo: Demo) -> list[tuple[str, str]]:
        given = [f for f in signature.inputs if f.name in demo.values]
        made = [f for f in signature.outputs if f.name in demo.values]
        if not given or not made:
            return []
        return [("user", self._lines(given, demo)), ("assistant", self._lines(made, demo))]

    def order(self, signature: Signature, demos: tuple[Demo, ...]) -> tuple[Demo, ...]:
        return demos

    def _lines(self, fields: list[Field], demo: Demo) -> str:
        from lampc.ir.attrs import thaw

        return "\n".join(_joined(f.name, self.value(thaw(demo.values[f.name]), f)) for f in fields)

    def value(self, value: Any, field: Field) -> str:
        item = field.type.item if isinstance(field.type, Maybe) else field.type
        if isinstance(item, ListOf) and item.item == STR and isinstance(value, list):
            return "".join(f"\n- {plain(v)}" for v in value) or "\n- none"
        return plain(value)

    def parse(self, signature: Signature, text: str) -> dict[str, Any]:
        names = [f.name for f in signature.outputs]
        heads = re.compile(r"^\s*(" + "|".join(map(re.escape, names)) + r")\s*:", re.MULTILINE)
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
            if isinstance(f.type, Maybe):
                out[f.name] = None
                continue
            raise ParseFailure(f"output `{f.name}` is missing", text, out)
        try:
            out[f.name] = cast(parts[f.name], f.type)
        except Uncastable as e:
            raise ParseFailure(f"output `{f.name}`: {e}", text, out) from None
    return out


def _joined(name: str, value: str) -> str:
    return f"{name}:{value}" if value.startswith("\n- ") else f"{name}: {value}"


def _merged(segments: list[Segment]) -> list[Segment]:
    """Lists begin on a line of their own, so no space follows the colon."""
    out: list[Segment] = []
    for s, following in zip(segments, [*segments[1:], None], strict=True):
        if isinstance(s, Text) and isinstance(following, Input) and _is_str_list(following.field):
            s = Text(s.text.removesuffix(" "))
        out.append(s)
    return out


def _is_str_list(field: Field) -> bool:
    item = field.type.item if isinstance(field.type, Maybe) else field.type
    return isinstance(item, ListOf) and item.item == STR


def _guide(signature: Signature) -> str:
    def shown(f: Field) -> str:
        return f"{f.name} ({hint(f.type)})" if hint(f.type) else f.name

    line = f"{', '.join(f.name for f in signature.inputs)} -> {', '.join(map(shown, signature.outputs))}"
    described = [f"- {f.name}: {f.desc}" for f in (*signature.inputs, *signature.outputs) if f.desc]
    return "\n".join([line, *described])
