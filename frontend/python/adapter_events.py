"""What callbacks are told of the adapter of a call: the messages as it wrote them, the outputs as it read them.

Prompts are written and answers read by whoever runs the call, many at a time; here both are told of around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lampc.frontend.python import adapters
from lampc.frontend.python.callbacks import active, begin, telling
from lampc.frontend.python.calllog import CallRecord
from lampc.frontend.python.predict import drawn
from lampc.ir import Key, Sampling, thaw
from lampc.ir.adapters import Bound, ParseFailure
from lampc.ir.adapters.registry import kind_of
from lampc.ir.settings import settings

_BY_LAYOUT: Mapping[str, type[adapters.Adapter]] = {
    "chat": adapters.ChatAdapter,
    "json": adapters.JSONAdapter,
    "xml": adapters.XMLAdapter,
    "baml": adapters.BAMLAdapter,
}


def adapter_of(layout: str) -> Any:
    """The object that stands for a layout: the configured one if it is that, None for layouts that DSPy has not."""
    kind, chosen = kind_of(layout), settings.adapter
    if getattr(chosen, "layout", None) == kind:
        return chosen
    made = _BY_LAYOUT.get(kind)
    return made() if made is not None else None


class Told:
    """A runner whose calls callbacks are told of; `inputs` are those of the call as the user gave them."""

    def __init__(self, runner: Any, signature: Any, inputs: Mapping[str, Any]) -> None:
        self.runner, self.signature, self.inputs = runner, signature, dict(inputs)

    def predict_many(
        self, bound: Bound, values: Mapping[str, Any], sampling: Sampling, key: Key, n: int
    ) -> list[tuple[dict[str, Any], str]]:
        how, signature = adapter_of(bound.layout), self.signature
        if how is None:
            return drawn(self.runner, bound, values, sampling, key, n)
        told = active(how)
        demos = [{**thaw(d.values), **({"augmented": True} if d.augmented else {})} for d in bound.demos.items]
        given = {"signature": signature, "demos": demos, "inputs": self.inputs}
        with telling("adapter_format", how, given, told) as end:
            end.outputs = CallRecord(bound, values, ()).messages
        try:
            found: list[tuple[dict[str, Any], str]] = drawn(self.runner, bound, values, sampling, key, n)
        except ParseFailure as e:
            begin("adapter_parse", how, {"signature": signature, "completion": e.text}, told)(None, e)
            raise
        for outputs, text in found:
            with telling("adapter_parse", how, {"signature": signature, "completion": text}, told) as end:
                end.outputs = signature.lift(outputs)
        return found
