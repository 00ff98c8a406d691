"""What a predictor sends, with inputs that are not known standing as `{name}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lampc.ir.adapters import Bound, adapter, bind_prompt
from lampc.ir.adapters.bind import Quote, verbatim
from lampc.ir.prompt import Input, Prompt, Text
from lampc.ir.templates.template import SLOT, template_layout

Turns = list[tuple[str, str]]


def unknown_inputs(bound: Bound) -> dict[str, Any]:
    """Every input as `{name}`."""
    return {f.name: "{" + f.name + "}" for f in bound.signature.inputs}


def messages(bound: Bound, values: Mapping[str, Any], quote: Quote = verbatim) -> Turns:
    """The conversation of a call, without the turn that the model writes."""
    prompt = adapter(bound.layout).render(bound.signature, bound.name)
    unknown = {f.name for f in bound.signature.inputs if values[f.name] == "{" + f.name + "}"}
    return bind_prompt(_with_pieces(prompt, unknown), bound, [values[f.name] for f in bound.signature.inputs], quote)


def _with_pieces(prompt: Prompt, unknown: set[str]) -> Prompt:
    """Slots of a user's template whose values are not known show what the template says there."""

    def shown(segment: Any) -> Any:
        if isinstance(segment, Input) and segment.adapter.startswith(SLOT) and segment.field.name in unknown:
            return Text(str(getattr(template_layout(segment.adapter), "piece")))  # noqa: B009
        return segment

    turns = (replace(t, segments=tuple(map(shown, t.segments))) for t in prompt.turns)
    return replace(prompt, turns=tuple(turns))
