"""Instructions out of templates: texts with slots for what a predictor is told, takes and gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lampc.passes.optimize.proposers.protocol import Drafted, Wish, dealt
from lampc.passes.optimize.protocol import OptimizeError, Problem

DEFAULT = (
    "{instruction} Answer with {outputs} alone.",
    "Read {inputs}. {instruction}",
    "{instruction} Be brief and exact.",
    "Given {inputs}, give {outputs}.",
    "{instruction} Follow the examples, if there are any.",
    "{instruction} Every answer is checked, so take care.",
    "You are an expert in this task. {instruction}",
    "{instruction} Think about {inputs} before you write {outputs}.",
)
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Templates:
    """Templates in their order. `{instruction}` is what the predictor is told now, `{inputs}` and `{outputs}` are the
    names of its fields, `{tip}` is a hint on style, often empty. Braces around anything else are text."""

    name: ClassVar[str] = "templates"
    templates: tuple[str, ...] = DEFAULT

    def begin(self, problem: Problem, wishes: Sequence[Wish]) -> Drafted:
        if not self.templates:
            raise OptimizeError(f'{self.name}: there are none; give `templates: ["{{instruction}} Be brief.", ...]`')
        choices: dict[str, list[str]] = {}
        for wish in wishes:
            choices.setdefault(wish.predictor.symbol, []).extend(filled(t, wish) for t in self.templates)
        return dealt(wishes, choices)

    def files(self, problem: Problem) -> object:
        return None

    def calls(self, problem: Problem, wishes: int) -> int:
        return 0


def filled(template: str, wish: Wish) -> str:
    """The template with its slots filled. Raises OptimizeError for a slot that there is not."""
    values = {
        "instruction": wish.instruction,
        "inputs": _listed([f.name for f in wish.signature.inputs]),
        "outputs": _listed([f.name for f in wish.signature.outputs]),
        "tip": wish.tip,
    }
    for slot in _SLOT.findall(template):
        if slot not in values:
            raise OptimizeError(f"templates: there is no slot `{{{slot}}}` in {template!r}; known: {', '.join(values)}")
    return " ".join(_SLOT.sub(lambda m: values[m[1]], template).split(" ")).strip()


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{n}`" for n in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " and " + quoted[-1]
