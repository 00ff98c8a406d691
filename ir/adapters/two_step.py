"""The `two_step` layout: the model answers as it likes, and a second call picks the outputs out of what it wrote.

The texts of both calls are those of DSPy's TwoStepAdapter. The second call is made by whoever runs the program, see
`lampc.ir.adapters.rounds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.dialogue import Dialogue, turns_of
from lampc.ir.adapters.schema import is_history
from lampc.ir.adapters.wording import described, plain_value
from lampc.ir.content import Field, Signature
from lampc.ir.hostvalues import lifted
from lampc.ir.prompt import Demos, Guide, Input, Instruction, Output, Prompt, Segment, Text, Turn
from lampc.ir.types import STR


class TwoStep(Dialogue):
    """See the module's text. `extractor` names the model of the second call ("": that of the first); `last` renders
    the value that ends a message, behind which no white space is left."""

    objective = ""

    def __init__(self, name: str, strict: bool = False, *, last: bool = False, extractor: str = "") -> None:
        super().__init__(name, strict)
        self.last = last
        self.extractor = extractor

    def render(self, signature: Signature, predictor: str) -> Prompt:
        user: list[Segment] = []
        for i, f in enumerate(signature.inputs):
            ends = i == len(signature.inputs) - 1
            user += [*([Text("\n\n")] if i else []), Input(i, f, LAST if ends else self.name)]
        return Prompt(
            (
                Turn("system", (Guide(self.structure(signature)), Instruction(predictor, self.name))),
                Turn("demos", (Demos(predictor, self.name),)),
                Turn("user", tuple(user)),
                Turn("assistant", (Output(tuple(f.name for f in signature.outputs)),)),
            )
        )

    def structure(self, signature: Signature) -> str:
        return "\n".join(
            [
                "You are a helpful assistant that can solve tasks based on user input.",
                "As input, you will be provided with:\n" + described(signature.inputs),
                "Your outputs must contain:\n" + described(signature.outputs),
                "You should lay out your outputs in detail so that your answer can be understood by another agent",
            ]
        )

    def instruction(self, text: str) -> str:
        return f"\nSpecific instructions: {text}" if text else ""

    def reminder(self, signature: Signature) -> str:
        return ""

    def head(self, field: Field) -> str:
        return ""

    def value(self, value: Any, field: Field) -> str:
        made = f"{field.name}: {_said(value, field)}"
        return made.rstrip() if self.last else made

    def answer(self, signature: Signature, values: Mapping[str, Any], missing: Any) -> str:
        blocks = [f"{f.name}: {_said(values[f.name], f)}" for f in signature.outputs if f.name in values]
        return "\n\n".join(blocks).strip()

    def accept(self, signature: Signature, text: str) -> dict[str, Any]:
        raise ParseFailure("the outputs are still to be picked out of the answer", text, {})

    def parse(self, signature: Signature, text: str) -> dict[str, Any]:
        """Always raises ParseFailure: a text of no form is read by a second call."""
        return self.accept(signature, text)


LAST = "two_step_last"
"""The layout of a value that ends a message: never chosen by a program."""


def extraction(signature: Signature) -> Signature:
    """The signature of the second call: `text` to the outputs."""
    names = ", ".join(f"`{f.name}`" for f in signature.outputs)
    instruction = (
        f"The input is a text that should contain all the necessary information to produce the fields {names}.  "
        "           Your job is to extract the fields from the text verbatim. Extract precisely the appropriate value "
        "(content) for each field."
    )
    return Signature((Field("text", STR),), signature.outputs, instruction, "Extract")


def _said(value: Any, field: Field) -> str:
    """As Python writes it: objects of classes that are known here as their classes do."""
    if is_history(field):
        return f"messages={list(turns_of(value))!r}"
    try:
        return str(lifted(plain_value(value, field), field.type))
    except ValueError:
        return str(plain_value(value, field))
