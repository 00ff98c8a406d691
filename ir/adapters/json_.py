"""The `json` layout: inputs under markers, outputs as one JSON object, the texts that DSPy's JSONAdapter sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.chat import Chat
from lampc.ir.adapters.lax import Unfit
from lampc.ir.adapters.strict import accept, embedded_object, finish, repaired
from lampc.ir.adapters.wording import STRUCTURE, both_described, form, placeholder, plain_value
from lampc.ir.content import Signature


class Json(Chat):
    """See the module's text."""

    def structure(self, signature: Signature) -> str:
        inputs = "\n\n".join(self.head(f) + placeholder(f, False) for f in signature.inputs)
        outputs = _object({f.name: placeholder(f, True) for f in signature.outputs})
        parts = [
            STRUCTURE,
            "Inputs will have the following structure:",
            inputs,
            "Outputs will be a JSON object with the following fields.",
            outputs,
        ]
        return both_described(signature) + "\n" + "\n\n".join(parts).strip()

    def reminder(self, signature: Signature) -> str:
        fields = ", then ".join(f"`{f.name}`{form(f)}" for f in signature.outputs)
        return f"Respond with a JSON object in the following order of fields: {fields}."

    def answer(self, signature: Signature, values: Mapping[str, Any], missing: Any) -> str:
        return _object({f.name: plain_value(values.get(f.name, missing), f) for f in signature.outputs})

    def accept(self, signature: Signature, text: str) -> dict[str, Any]:
        read = repaired(text)
        if not isinstance(read, dict):
            inner = embedded_object(text)
            read = repaired(inner) if inner is not None else read
        if not isinstance(read, dict):
            raise ParseFailure("the answer holds no JSON object", text, {})
        found: dict[str, Any] = {}
        for name, value in read.items():
            field = signature.output(name)
            if field is None:
                continue
            try:
                found[name] = accept(value, field)
            except Unfit as e:
                raise ParseFailure(f"output `{name}`: {e}", text, found) from None
        return finish(signature, found, text)


def _object(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False)
