"""`predictor(..., after=d)`: a call that goes on where the call that gave `d` ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lampc.frontend.python.calllog import CallRecord
from lampc.frontend.python.example import Prediction


def take_after(inputs: dict[str, Any], signature_inputs: Mapping[str, Any]) -> Any:
    """The answer that a call goes on from, out of its arguments; None where `after` is an input, or not given."""
    return None if "after" in signature_inputs else inputs.pop("after", None)


def said_before(after: Any, name: str) -> tuple[tuple[str, str], ...]:
    """The conversation that an answer ends: (role, text) of each turn. Raises TypeError for what is no answer of a
    predictor, or several of them, and for messages that are no text."""
    record = getattr(after, "_call", None)
    if not isinstance(record, CallRecord):
        what = f"not {type(after).__name__}"
        if isinstance(after, Prediction):
            what = "and this prediction does not know its call: give what the call of one predictor returned, not one "
            what += "of several completions, a copy with other values, a result of batch() or one made by hand"
        raise TypeError(f"`{name}`: after= takes what a predictor gave, {what}")
    if len(record.outputs) != 1:
        raise TypeError(f"`{name}`: after= takes one answer, not {len(record.outputs)}")
    turns = [(str(m["role"]), m["content"]) for m in record.messages]
    if any(not isinstance(text, str) for _, text in turns):
        raise TypeError(f"`{name}`: after= cannot go on from messages that are no text")
    return (*turns, ("assistant", record.outputs[0]))


def is_answer(value: Any) -> bool:
    """Whether a value knows the call of a predictor that gave it."""
    return isinstance(getattr(value, "_call", None), CallRecord)
