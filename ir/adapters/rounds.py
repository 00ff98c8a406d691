"""Further calls for outputs that could not be read: a bounded number, each decided by what the ones before gave.

    layout                 after an answer that cannot be read
    chat json xml baml     the same conversation, the answer, and what is wrong with it: once
    two_step               always a call that picks the outputs out of the answer, then as `chat`
    *_dspy                 what DSPy does: once more, asked for as JSON (`json` and `baml`: nothing)
    *_once                 nothing
    compact                nothing: the layout is for small models, which were not taught to mend their answers

Everything that runs programs asks here, and draws the answers of round n with the call's own key and `again(draw, n)`,
so a round is as reproducible as the call that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lampc.ir.adapters.arranged import base_of, like
from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.bind import Bound, Quote, bind_prompt, prompt_of, verbatim
from lampc.ir.adapters.dialogue import Dialogue
from lampc.ir.adapters.registry import STRICT, adapter
from lampc.ir.adapters.two_step import TwoStep, extraction
from lampc.ir.callkey import Draw
from lampc.ir.content import DemoSet

Turns = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Round:
    """A call: what is sent, and under which parameters its answer is read."""

    bound: Bound
    turns: Turns
    inputs: Mapping[str, Any]

    def read(self, text: str) -> dict[str, Any]:
        """Raises ParseFailure."""
        return adapter(self.bound.layout).parse(self.bound.signature, text)


def first_round(bound: Bound, inputs: Mapping[str, Any], quote: Quote = verbatim) -> Round:
    """The call itself."""
    prompt = prompt_of(bound)
    values = [inputs.get(f.name) for f in bound.signature.inputs]
    return Round(bound, bind_prompt(prompt, bound, values, quote), inputs)


def next_round(
    first: Bound, done: Sequence[Round], failure: ParseFailure, quote_of: Callable[[str], Quote]
) -> Round | None:
    """The call to make after those in `done`, of which the last gave `failure`; None if there is none.

    `quote_of` gives what is done to data in prompts of the model of a name, see `Target.quote`.
    """
    last, n = done[-1], len(done)
    how = adapter(first.layout)
    steps = 1 if isinstance(how, TwoStep) else 0
    if isinstance(how, TwoStep) and n == 1:
        return _extracting(first, failure.text, how, quote_of)
    if n != steps + 1 or not isinstance(how, Dialogue) or how.once:
        return None
    if how.strict:
        if base_of(last.bound.layout) in ("json" + STRICT, "baml" + STRICT):
            return None
        as_json = like(last.bound.layout, "json" + STRICT)
        return first_round(replace(last.bound, layout=as_json), last.inputs, quote_of(last.bound.model))
    complaint = _complaint(last.bound, failure, quote_of(last.bound.model))
    return Round(last.bound, [*last.turns, *complaint], last.inputs)


def most_rounds(layout: str) -> int:
    """The most calls that one call of a predictor can become; those that it becomes at least are `least_rounds`."""
    how = adapter(layout)
    if not isinstance(how, Dialogue):
        return 1
    return least_rounds(layout) + (0 if how.once or base_of(layout) in ("json" + STRICT, "baml" + STRICT) else 1)


def least_rounds(layout: str) -> int:
    return 2 if isinstance(adapter(layout), TwoStep) else 1


def again(draw: Draw, n: int) -> Draw:
    """Where the randomness of round `n` of a call comes from (round 0 is the call)."""
    return replace(draw, key=replace(draw.key, path=(*draw.key.path, f"round{n}"))) if n else draw


def _extracting(first: Bound, text: str, how: TwoStep, quote_of: Callable[[str], Quote]) -> Round:
    signature = extraction(first.signature)
    layout, model = "chat" + (STRICT if how.strict else ""), how.extractor or first.model
    bound = Bound(first.name, signature, signature.instruction, DemoSet(), layout, model)
    return first_round(bound, {"text": text}, quote_of(model))


def _complaint(bound: Bound, failure: ParseFailure, quote: Quote) -> Turns:
    how = adapter(bound.layout)
    assert isinstance(how, Dialogue)
    ask = (
        f"That answer cannot be read: {failure}. Write the whole answer again, corrected and complete.\n\n"
        f"{how.reminder(bound.signature)}"
    )
    return [("assistant", quote(failure.text.strip() or "(nothing)")), ("user", quote(ask))]
