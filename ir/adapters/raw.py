"""The `raw` layout: the inputs are the message, the answer is the output; nothing is said around them.

For calls that hand over a prompt as it is, as code does that asks a model.
"""

from __future__ import annotations

from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.values import plain
from lampc.ir.attrs import thaw
from lampc.ir.content import Demo, Field, Signature
from lampc.ir.prompt import Demos, Input, Output, Prompt, Segment, Text, Turn
from lampc.ir.types import STR


class Raw:
    """See the module's text. The instruction is never sent."""

    name = "raw"
    strict = False

    def render(self, signature: Signature, predictor: str) -> Prompt:
        user: list[Segment] = []
        for i, f in enumerate(signature.inputs):
            user += [*([Text("\n\n")] if i else []), Input(i, f, self.name)]
        return Prompt(
            (
                Turn("demos", (Demos(predictor, self.name),)),
                Turn("user", tuple(user)),
                Turn("assistant", (Output(tuple(f.name for f in signature.outputs)),)),
            )
        )

    def instruction(self, text: str) -> str:
        return ""

    def demo(self, signature: Signature, demo: Demo) -> list[tuple[str, str]]:
        given = [self.value(thaw(demo.values[f.name]), f) for f in signature.inputs if f.name in demo.values]
        made = [self.value(thaw(demo.values[f.name]), f) for f in signature.outputs if f.name in demo.values]
        return [("user", "\n\n".join(given)), ("assistant", "\n\n".join(made))] if given and made else []

    def order(self, signature: Signature, demos: tuple[Demo, ...]) -> tuple[Demo, ...]:
        return demos

    def history(self, signature: Signature, value: Any) -> list[tuple[str, str]]:
        return []

    def value(self, value: Any, field: Field) -> str:
        return plain(value)

    def parse(self, signature: Signature, text: str) -> dict[str, Any]:
        """Raises ParseFailure for a signature with other outputs than one text."""
        if len(signature.outputs) != 1 or signature.outputs[0].type != STR:
            raise ParseFailure("the layout `raw` reads one output, a text", text, {})
        return {signature.outputs[0].name: text}
