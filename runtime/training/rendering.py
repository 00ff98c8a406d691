"""From calls of predictors to what is trained on: prompts as the program sends them, answers as it would read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lampc.ir import Demo, freeze, thaw
from lampc.ir.adapters import Bound, adapter
from lampc.ir.adapters.rounds import Turns, first_round
from lampc.runtime.models import ModelError
from lampc.runtime.target import LocalTarget

if TYPE_CHECKING:
    from lampc.backend.training import Pair
    from lampc.passes.optimize import TracedCall


def pairs_of(calls: Sequence[TracedCall], bound: Mapping[str, Bound], target: LocalTarget) -> list[Pair]:
    """A pair for each call. Raises ModelError for one that has no answer, or is of a predictor that is not there."""
    return [_pair(call, bound, target) for call in calls]


def _pair(call: TracedCall, bound: Mapping[str, Bound], target: LocalTarget) -> Pair:
    from lampc.backend.training import Pair

    own = bound.get(call.predictor)
    if own is None:
        raise ModelError(f"a call to train on is of `{call.predictor}`; the program has {', '.join(bound)}")
    turns = first_round(own, thaw(call.inputs), target.quote).turns
    prompt = target.render_chat(turns)
    ids = tuple(target.tokens.encode(prompt))
    return Pair(ids, _ended(target, target.continuation(turns, _answer(call, own, target))))


def _answer(call: TracedCall, bound: Bound, target: LocalTarget) -> str:
    """The outputs as the layout writes them; what the model wrote, if the layout cannot say them alone."""
    values = {**thaw(call.inputs), **thaw(call.outputs)}
    turns: Turns = adapter(bound.layout).demo(bound.signature, Demo(freeze(values))) if call.outputs else []
    text = turns[-1][1] if turns else call.text
    if not text:
        raise ModelError(f"a call of `{call.predictor}` to train on has no answer ({call.error or 'no outputs'})")
    return target.quote(text)


def _ended(target: LocalTarget, text: str) -> tuple[int, ...]:
    """Ids of a text up to the first that ends a sequence, which is added if there is none."""
    ids, ends = target.tokens.encode(text), target.tokens.eos_ids
    for i, token in enumerate(ids):
        if token in ends:
            return tuple(ids[: i + 1])
    return (*ids, min(ends)) if ends else tuple(ids)
