"""What differs between two candidates, predictor by predictor: instruction, demos, other parameters, prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lampc.ir import Assignment, Module, thaw
from lampc.ir.adapters import Bound, bind_predictors
from lampc.runtime.reports.rendered import Turns, messages, unknown_inputs
from lampc.runtime.reports.words import Edit, line_edits, word_edits


@dataclass(frozen=True, slots=True)
class DemoRow:
    """A demo: its values by field, and whether it came out of a run. `kind` is `=` kept, `-` removed, `+` added."""

    kind: str
    values: dict[str, Any]
    augmented: bool = False


@dataclass(frozen=True, slots=True)
class PredictorChange:
    """One predictor before and after. `prompt` is what it sends, inputs standing as `{name}`, line by line; empty if
    that cannot be shown. `parameters` are (name, before, after)."""

    name: str
    instruction: tuple[Edit, ...] = ()
    demos: tuple[DemoRow, ...] = ()
    parameters: tuple[tuple[str, Any, Any], ...] = ()
    prompt: tuple[Edit, ...] = ()

    @property
    def changed(self) -> bool:
        edits = any(kind != "=" for kind, _ in (*self.instruction, *self.prompt))
        return edits or any(d.kind != "=" for d in self.demos) or bool(self.parameters)


@dataclass(frozen=True, slots=True)
class Changes:
    """All predictors of both programs, changed or not, and the parameters that belong to none (before, after)."""

    predictors: tuple[PredictorChange, ...] = ()
    parameters: tuple[tuple[str, Any, Any], ...] = ()
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return any(p.changed for p in self.predictors) or bool(self.parameters or self.only_before or self.only_after)


def compare(
    module: Module, before: Assignment, after: Assignment, other: Module | None = None, prompts: bool = True
) -> Changes:
    """The changes from `before` (of `module`) to `after` (of `other`, by default the same module)."""
    other = module if other is None else other
    old, new = bind_predictors(module, before), bind_predictors(other, after)
    shared = [name for name in new if name in old]
    rest: list[tuple[str, Any, Any]] = []
    for key in sorted({*before.values, *after.values}):
        owner = key.rpartition(".")[0]
        if owner not in new and owner not in old and before.get(key) != after.get(key):
            rest.append((key, plain_value(before.get(key)), plain_value(after.get(key))))
    return Changes(
        tuple(_predictor(old[name], new[name], prompts) for name in shared),
        tuple(rest),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name not in old),
    )


def plain_value(value: Any) -> Any:
    """A parameter as a JSON value; what has none, as text."""
    made = thaw(value)
    return made if made is None or isinstance(made, bool | int | float | str | list | dict) else str(made)


def _cascade(bound: Bound) -> str:
    asked = bound.cascade
    return "" if asked is None else f"`{asked.proxy}` first, its answer from p = {asked.threshold:.4g} on"


def _predictor(a: Bound, b: Bound, prompts: bool) -> PredictorChange:
    found = ("layout", a.layout, b.layout), ("model", a.model, b.model), ("cascade", _cascade(a), _cascade(b))
    parameters = [p for p in found if p[1] != p[2]]
    for side, other in (("inputs", a.signature), ("outputs", a.signature)):
        old, new = (", ".join(f.name for f in getattr(s, side)) for s in (other, b.signature))
        if old != new:
            parameters.append((side, old, new))
    shown = [_prompt(x) if prompts else "" for x in (a, b)]
    return PredictorChange(
        b.name,
        tuple(word_edits(a.instruction, b.instruction)),
        tuple(_demos(a, b)),
        tuple(parameters),
        tuple(line_edits(*shown)) if all(shown) else (),
    )


def _demos(a: Bound, b: Bound) -> list[DemoRow]:
    """Demos of both, each once: those of the first that are gone, then those of the second in their order."""
    gone = [DemoRow("-", thaw(d.values), d.augmented) for d in a.demos.items if d not in b.demos.items]
    return gone + [DemoRow("=" if d in a.demos.items else "+", thaw(d.values), d.augmented) for d in b.demos.items]


def _prompt(bound: Bound) -> str:
    try:
        turns: Turns = messages(bound, unknown_inputs(bound))
    except Exception:  # a layout of the user's own that wants real values
        return ""
    return "".join(f"[{role}]\n{text.rstrip()}\n\n" for role, text in turns)
