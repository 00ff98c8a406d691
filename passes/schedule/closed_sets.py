"""Labels, truth values and literals are found in one step each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.adapters.constrained import closed_outputs
from lampc.ir.core import Module
from lampc.ir.kv import Generate
from lampc.ir.requests import Parse
from lampc.passes.manager import PassContext


@dataclass(frozen=True)
class ClosedSets:
    """A generation is told which of its outputs can only be one of a few values (`closed`).

    Where such a value begins, an engine that keeps answers to their form computes the tokens of all that may follow
    beside each other, and draws at each place where they part as it would have drawn there: with the same key, the same
    mask, the same place. So the tokens are those that would have been drawn one by one. That is not the value whose
    whole text is likeliest (`kv.score`).
    """

    name: ClassVar[str] = "closed-sets"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        generations = outputs = 0
        for op in module.walk():
            if not isinstance(op, Generate):
                continue
            reader = next((user for user in op.text.users if isinstance(user, Parse)), None)
            closed = closed_outputs(reader.signature, reader.layout) if reader is not None else ()
            if closed:
                op.attrs["closed"] = closed
            generations += bool(closed)
            outputs += len(closed)
        return {"generations": generations, "outputs": outputs}
