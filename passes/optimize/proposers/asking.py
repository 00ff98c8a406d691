"""What proposers that ask a model share: their options, and the tidying of what the model wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lampc.ir import STR, Field, Obj, Sampling, Signature
from lampc.ir.modelnames import named_model
from lampc.passes.optimize.jobs import CallJob
from lampc.passes.optimize.protocol import OptimizeError, Problem

_LABEL = re.compile(r"[*\s]*(?:[\w'-]+\s+){0,4}[\w'-]+:\s*")


@dataclass(frozen=True)
class Asking:
    """Which model is asked (a symbol of the module, or the name of an LM object; empty: the program's), and how.

    `max_tokens` bounds an answer, 0: as many as the model may write. `layout` is how calls are written.
    """

    prompt_model: str = ""
    temperature: float = 1.0
    max_tokens: int = 1024
    layout: str = "chat"

    def check(self, who: str, problem: Problem) -> None:
        """Raises OptimizeError if there is no such model, naming `who`."""
        name = self.prompt_model
        if name not in ("", "main") and problem.module.lookup(name) is None and named_model(name) is None:
            raise OptimizeError(f"{who}: the program defines no model `{name}` to ask for proposals")

    def call(self, signature: Signature, inputs: Mapping[str, str], number: int = 0) -> CallJob:
        sampling = Sampling(
            temperature=self.temperature, max_tokens=self.max_tokens, firm=("temperature", "max_tokens")
        )  # what is said here goes before what a model's defaults say
        values = Obj({f.name: inputs[f.name] for f in signature.inputs})
        return CallJob(signature, values, sampling, self.prompt_model or "main", self.layout, number)


def texts(*fields: tuple[str, str]) -> tuple[Field, ...]:
    """Fields of text: (name, what it holds)."""
    return tuple(Field(name, STR, desc) for name, desc in fields)


def without_label(text: str) -> str:
    """The text without a label of up to five words at its head (`Proposed instruction:`) and quotes around it, as
    DSPy reads proposals."""
    found = _LABEL.match(text)
    return (text[found.end() :] if found else text).strip('"')
