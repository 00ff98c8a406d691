"""Advice for a predictor from an earlier attempt: one more input of its calls, as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from lampc.ir.adapters import Bound
from lampc.ir.adapters.schema import HINT
from lampc.ir.content import Field, Shape
from lampc.ir.settings import settings
from lampc.ir.types import STR

NAME = "hint_"
TEXT = "A hint to the module from an earlier run"
NONE = "N/A"


@contextmanager
def hinting(advice: Mapping[int, str], late: bool) -> Iterator[None]:
    """Calls inside of the block carry the advice for their predictor (by `id`), or `N/A`.

    `late` advice stands in the message only, behind the inputs: the prompt begins as it does without it. Else the
    field is described to the model like any other, as DSPy does it.
    """
    with settings.context(hints=(dict(advice), late)):
        yield


def hinted(predictor: Any, bound: Bound, values: dict[str, Any]) -> Bound:
    """The call with the advice that holds here, if any; `values` get it too."""
    found = settings.get("hints")
    if found is None:
        return bound
    advice, late = found
    values[NAME] = advice.get(id(predictor), NONE)
    field = Field(NAME, STR, TEXT, shape=Shape("str", form=HINT) if late else None)
    return replace(bound, signature=replace(bound.signature, inputs=(*bound.signature.inputs, field)))
