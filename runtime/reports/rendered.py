"""What a predictor sends, with inputs that are not known standing as `{name}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lampc.ir import Module
from lampc.ir.adapters import Bound, adapter, bind_prompt
from lampc.ir.adapters.bind import Quote, bind_turns, following, verbatim
from lampc.ir.adapters.registry import asked_once
from lampc.ir.prog import Continue, Predict
from lampc.ir.prompt import Input, Prompt, Text
from lampc.ir.templates.template import SLOT, template_layout

Turns = list[tuple[str, str]]


def unknown_inputs(bound: Bound) -> dict[str, Any]:
    """Every input as `{name}`."""
    return {f.name: "{" + f.name + "}" for f in bound.signature.inputs}


def messages(bound: Bound, values: Mapping[str, Any], quote: Quote = verbatim) -> Turns:
    """The conversation of a call, without the turn that the model writes."""
    return bind_prompt(_prompt(bound, values), bound, [values[f.name] for f in bound.signature.inputs], quote)


def added(bound: Bound, values: Mapping[str, Any], quote: Quote = verbatim) -> Turns:
    """The turns that a call adds which goes on where another ended, without the one that the model writes."""
    bound = replace(bound, layout=asked_once(bound.layout))
    turns = following(_prompt(bound, values)).turns
    return bind_turns(turns, bound, [values[f.name] for f in bound.signature.inputs], quote)


def continued(module: Module, predictor: str) -> tuple[list[str], bool]:
    """Which calls those of a predictor go on from, as `name` (place), and whether there are others that go on from
    none; a predictor that is never called counts as one."""
    calls = [op for op in module.walk() if isinstance(op, Predict) and op.predictor.name == predictor]
    found: dict[str, None] = {}
    for op in calls:
        if isinstance(op, Continue) and isinstance(before := op.after.defining_op(), Predict):
            place = before.loc.origin()
            found[f"`{before.predictor.name}`" + (f" ({place})" if place is not None else "")] = None
    return list(found), not calls or not all(isinstance(op, Continue) for op in calls)


def _prompt(bound: Bound, values: Mapping[str, Any]) -> Prompt:
    prompt = adapter(bound.layout).render(bound.signature, bound.name)
    return _with_pieces(prompt, {f.name for f in bound.signature.inputs if values[f.name] == "{" + f.name + "}"})


def _with_pieces(prompt: Prompt, unknown: set[str]) -> Prompt:
    """Slots of a user's template whose values are not known show what the template says there."""

    def shown(segment: Any) -> Any:
        if isinstance(segment, Input) and segment.adapter.startswith(SLOT) and segment.field.name in unknown:
            return Text(str(getattr(template_layout(segment.adapter), "piece")))  # noqa: B009
        return segment

    turns = (replace(t, segments=tuple(map(shown, t.segments))) for t in prompt.turns)
    return replace(prompt, turns=tuple(turns))
