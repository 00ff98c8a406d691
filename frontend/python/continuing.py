"""`predictor(..., after=d)`: a call that goes on where the call that gave `d` ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lampc.frontend.python.calllog import CallRecord
from lampc.frontend.python.example import Prediction
from lampc.ir.adapters import Bound
from lampc.ir.adapters.registry import asked_once


def take_after(inputs: dict[str, Any], signature_inputs: Mapping[str, Any]) -> Any:
    """The answer that a call goes on from, out of its arguments; None where `after` is an input, or not given."""
    return None if "after" in signature_inputs else inputs.pop("after", None)


def gone_on(bound: Bound, after: Any, asked: Any) -> Bound:
    """A call of `asked`, an LM or a name, that goes on from an answer, behind the conversation that this one ends.

    Raises TypeError for what is no answer of a predictor, or several of them, and for messages that are no text;
    ValueError where another model gave it, or two may, and for layouts that ask twice.
    """
    record, name = _record(after, bound.name), bound.name
    turns = [(str(m["role"]), m["content"]) for m in record.messages]
    if any(not isinstance(text, str) for _, text in turns):
        raise TypeError(f"`{name}`: after= cannot go on from messages that are no text")
    before, cannot = record.bound, "a call cannot go on where another ended"
    theirs, ours = record.model or before.model, model_of(asked) or bound.model
    own = record.asked() if record.asked is not None else None
    if theirs != ours or (before.model != bound.model and own is not None and own is not asked):
        raise ValueError(f"{cannot}: `{before.name}` asks `{theirs}`, and `{name}` asks `{ours}`")
    if two := next((b.name for b in (before, bound) if b.cascade is not None), ""):
        raise ValueError(f"{cannot}: two models may answer `{two}`, which has a cascade")
    for b in (before, bound):
        try:
            once = asked_once(b.layout)
        except ValueError as e:
            raise ValueError(f"{cannot}: `{b.name}`: {e}") from None
    return replace(bound, after=(*turns, ("assistant", record.outputs[0])), layout=once)


def _record(after: Any, name: str) -> CallRecord:
    record = getattr(after, "_call", None)
    if not isinstance(record, CallRecord):
        what = f"not {type(after).__name__}"
        if isinstance(after, Prediction):
            what = "and this prediction does not know its call: give what the call of one predictor returned, not one "
            what += "of several completions, a copy with other values, a result of batch() or one made by hand"
        raise TypeError(f"`{name}`: after= takes what a predictor gave, {what}")
    if len(record.outputs) != 1:
        raise TypeError(f"`{name}`: after= takes one answer, not {len(record.outputs)}")
    return record


def model_of(asked: Any) -> str:
    """The model of an LM, by the name that its provider has for it; "" if nobody says."""
    return asked if isinstance(asked, str) else str(getattr(asked, "model", ""))


def is_answer(value: Any) -> bool:
    """Whether a value knows the call of a predictor that gave it."""
    return isinstance(getattr(value, "_call", None), CallRecord)
