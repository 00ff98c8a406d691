"""Fields as a layout shows them to a model, outside of any signature: an agent's trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lampc.ir.adapters.registry import adapter
from lampc.ir.attrs import freeze
from lampc.ir.content import Demo, Field, Signature
from lampc.ir.types import STR

_ASIDE = "_"


def blocks(values: Mapping[str, Any], layout: str) -> str:
    """The text of named values, in order, as the inputs of a message; "" for none. Raises KeyError for no layout."""
    if not values:
        return ""
    fields = tuple(Field(name, STR) for name in values)
    shown = {n: "None" if v is None else v for n, v in values.items()}
    signature = Signature(fields, (Field(_ASIDE, STR),))
    return adapter(layout).demo(signature, Demo(freeze({**shown, _ASIDE: "-"})))[0][1]
