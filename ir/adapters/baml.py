"""The `baml` layout: as `json`, the types of outputs told by a compact schema, the texts that DSPy's BAMLAdapter sends.

A record is told by its fields, one a line with its description as a comment, in place of its JSON schema.
"""

from __future__ import annotations

import json
from typing import Any

from lampc.ir.adapters.json_ import Json
from lampc.ir.adapters.sketch import sketch
from lampc.ir.adapters.wording import STRUCTURE, both_described, plain_value
from lampc.ir.content import Field, Signature
from lampc.ir.hostvalues import host_class
from lampc.ir.types import Maybe, Record


class Baml(Json):
    """See the module's text."""

    def structure(self, signature: Signature) -> str:
        lines = [STRUCTURE + "\n"]
        for f in signature.inputs:
            lines += [f"[[ ## {f.name} ## ]]", f"{{{f.name}}}", ""]
        for f in signature.outputs:
            lines += [f"[[ ## {f.name} ## ]]", f"Output field `{f.name}` should be of type: {sketch(f)}\n"]
        return both_described(signature) + "\n" + "\n".join([*lines, "[[ ## completed ## ]]"])

    def value(self, value: Any, field: Field) -> str:
        """An object of a pydantic model is written over several lines."""
        inner = field.type.item if isinstance(field.type, Maybe) else field.type
        if isinstance(value, dict) and isinstance(inner, Record) and _is_model(inner):
            return json.dumps(plain_value(value, field), indent=2, ensure_ascii=False)
        return super().value(value, field)


def _is_model(t: Record) -> bool:
    host = host_class(t.host)
    return host is not None and hasattr(host.cls, "model_fields")
