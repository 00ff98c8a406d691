"""The `chat` layout: field markers `[[ ## name ## ]]`, the texts that DSPy's ChatAdapter sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.dialogue import Dialogue
from lampc.ir.adapters.lax import Unfit
from lampc.ir.adapters.strict import accept, finish
from lampc.ir.adapters.wording import STRUCTURE, both_described, form, placeholder
from lampc.ir.content import Field, Signature

_HEADER = re.compile(r"\[\[ ## (\w+) ## \]\]")
_END = "[[ ## completed ## ]]"


class Chat(Dialogue):
    """See the module's text."""

    def structure(self, signature: Signature) -> str:
        blocks = [self.head(f) + placeholder(f, False) for f in signature.inputs]
        blocks += [self.head(f) + placeholder(f, True) for f in signature.outputs]
        return both_described(signature) + "\n" + "\n\n".join([STRUCTURE, *blocks, _END])

    def reminder(self, signature: Signature) -> str:
        fields = ", then ".join(f"`[[ ## {f.name} ## ]]`{form(f)}" for f in signature.outputs)
        return (
            f"Respond with the corresponding output fields, starting with the field {fields}, "
            f"and then ending with the marker for `{_END}`."
        )

    def head(self, field: Field) -> str:
        return f"[[ ## {field.name} ## ]]\n"

    def answer(self, signature: Signature, values: Mapping[str, Any], missing: Any) -> str:
        blocks = [self.head(f) + self.value(values.get(f.name, missing), f) for f in signature.outputs]
        return "\n\n".join(blocks).strip() + f"\n\n{_END}\n"

    def accept(self, signature: Signature, text: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, part in sections(text):
            field = signature.output(name)
            if field is None or name in found:
                continue
            try:
                found[name] = accept(part, field)
            except Unfit as e:
                raise ParseFailure(f"output `{name}`: {e}", text, found) from None
        return finish(signature, found, text)


def sections(text: str) -> list[tuple[str, str]]:
    """What stands under each marker, in order; what stands before the first is left out."""
    out: list[tuple[str, list[str]]] = [("", [])]
    for line in text.splitlines():
        match = _HEADER.match(line.strip())
        if match:
            rest = line[match.end() :].strip()
            out.append((match.group(1), [rest] if rest else []))
        else:
            out[-1][1].append(line)
    return [(name, "\n".join(lines).strip()) for name, lines in out[1:]]
