"""What layouts that DSPy knows have in common: the order of turns, which demos are shown, and how history reads.

system     fields, structure, instruction
user       demo: inputs                     incomplete demos first
assistant  demo: outputs
user       turn of the history: inputs      with the reminder, so that its prefix is that of the call it was
assistant  turn of the history: outputs
user       inputs, and a reminder of what is asked for
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lampc.ir.adapters import arranged
from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.schema import is_history, told
from lampc.ir.adapters.tolerant import read_tolerantly
from lampc.ir.adapters.wording import INCOMPLETE, MISSING, OBJECTIVE, indented, written
from lampc.ir.attrs import thaw
from lampc.ir.content import Demo, Field, Shape, Signature
from lampc.ir.prompt import Demos, Guide, Input, Instruction, Output, Prompt, Segment, Text, Turn
from lampc.ir.types import ANY

RESULTS = Signature((Field("tool_call_results", ANY, shape=Shape("ToolCallResults")),), ())


class Dialogue:
    """Base of those layouts; what is specific to one is in the methods that raise NotImplementedError here.

    `strict` layouts read answers as DSPy does and no further; those that ask `once` do not ask again for an answer
    that cannot be read.
    """

    objective = f"\n{OBJECTIVE}"
    """What announces the instruction."""
    between = "\n\n"
    """What stands between two blocks of a message."""
    blocks: tuple[str, ...] = ()
    """An order of blocks other than that of the layout itself, see `lampc.ir.adapters.arranged`."""

    def __init__(self, name: str, strict: bool = False, once: bool = False) -> None:
        self.name = name
        self.strict = strict
        self.once = once

    # -- of each layout -----------------------------------------------------------------------------------

    def structure(self, signature: Signature) -> str:
        """The system message up to the instruction."""
        raise NotImplementedError

    def reminder(self, signature: Signature) -> str:
        """The end of a request; "" for none."""
        raise NotImplementedError

    def head(self, field: Field) -> str:
        """What stands before an input's value."""
        raise NotImplementedError

    def tail(self, field: Field) -> str:
        """What stands behind an input's value."""
        return ""

    def answer(self, signature: Signature, values: Mapping[str, Any], missing: Any) -> str:
        """An assistant's message with these outputs; `missing` stands for those that are not there."""
        raise NotImplementedError

    def accept(self, signature: Signature, text: str) -> dict[str, Any]:
        """Outputs as DSPy reads them. Raises ParseFailure."""
        raise NotImplementedError

    # -- of all -------------------------------------------------------------------------------------------

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
        if self.reminder(signature):
            user.append(Text(("\n\n" if user else "") + self.reminder(signature)))
        turns.append(Turn("user", tuple(arranged.joined(user))))
        turns.append(Turn("assistant", (Output(tuple(f.name for f in signature.outputs)),)))
        return Prompt(tuple(turns))

    def task(self, signature: Signature, predictor: str) -> list[Segment]:
        """What is said of the task."""
        guide = Guide(self.structure(told(signature)) + self.objective)
        return [guide, Instruction(predictor, self.name)]

    def slot(self, index: int, field: Field, first: bool) -> list[Segment]:
        """The segments of one input."""
        head = ("" if first else self.between) + self.head(field)
        return [Text(head), Input(index, field, self.name), *([Text(self.tail(field))] if self.tail(field) else [])]

    def instruction(self, text: str) -> str:
        return indented(text)

    def value(self, value: Any, field: Field) -> str:
        return written(value, field)

    def user(self, signature: Signature, values: Mapping[str, Any], prefix: str = "", main: bool = False) -> str:
        """A user's message with the inputs that are there."""
        blocks = [
            self.head(f) + self.value(values[f.name], f) + self.tail(f) for f in signature.inputs if f.name in values
        ]
        return "\n\n".join([prefix, *blocks, *([self.reminder(signature)] if main else [])]).strip()

    def order(self, signature: Signature, demos: tuple[Demo, ...]) -> tuple[Demo, ...]:
        signature = told(signature)
        whole = [d for d in demos if _complete(signature, d)]
        return (*(d for d in demos if not _complete(signature, d)), *whole)

    def demo(self, signature: Signature, demo: Demo) -> list[tuple[str, str]]:
        signature = arranged.in_order(told(signature), self.blocks)
        values: dict[str, Any] = thaw(demo.values)
        if not any(f.name in values for f in signature.inputs) or not any(f.name in values for f in signature.outputs):
            return []
        prefix = "" if _complete(signature, demo) else INCOMPLETE
        return [("user", self.user(signature, values, prefix)), ("assistant", self.answer(signature, values, MISSING))]

    def history(self, signature: Signature, value: Any) -> list[tuple[str, str]]:
        """The turns of a conversation: `{"messages": [{field: value}]}`, or the list of messages."""
        signature = arranged.in_order(without_history(told(signature)), self.blocks)
        out: list[tuple[str, str]] = []
        for message in turns_of(value):
            values, results = without_results(message)
            known = any(f.name in message for f in signature.inputs)
            if user := self.user(signature, message, main=known):
                out.append(("user", user))
            if said := self.answer(signature, values, None):
                out.append(("assistant", said))
            if results is not None:
                out.append(("user", self.user(RESULTS, {"tool_call_results": results})))
        return out

    def parse(self, signature: Signature, text: str) -> dict[str, Any]:
        if not text.strip():
            raise ParseFailure("the model wrote nothing", text, {})
        if self.strict:
            return self.accept(signature, text)
        return read_tolerantly(self.accept, signature, text)


def turns_of(value: Any) -> Sequence[Mapping[str, Any]]:
    """The messages of a history; none of what is no history, as the placeholder of one."""
    messages = value.get("messages") if isinstance(value, Mapping) else value
    return [m for m in messages if isinstance(m, Mapping)] if isinstance(messages, list | tuple) else []


def without_history(signature: Signature) -> Signature:
    return replace(signature, inputs=tuple(f for f in signature.inputs if not is_history(f)))


def without_results(message: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
    """A turn's values, and apart from them what the tools gave that it called."""
    for name, value in message.items():
        if isinstance(value, Mapping) and "tool_calls" in value:
            kept = {k: v for k, v in value.items() if k != "tool_call_results"}
            return {**message, name: kept}, value.get("tool_call_results")
    return message, None


def _complete(signature: Signature, demo: Demo) -> bool:
    return all(demo.values.get(f.name) is not None for f in (*signature.inputs, *signature.outputs))
