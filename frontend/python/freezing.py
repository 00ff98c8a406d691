"""`freeze`: what of a program's prompts no optimizer may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from lampc.frontend.python.example import Example
from lampc.frontend.python.given import demo_set
from lampc.frontend.python.module import Module
from lampc.ir import Kept, thaw
from lampc.ir.content import PARAMETERS

if TYPE_CHECKING:
    from lampc.frontend.python.predict import Predict

M = TypeVar("M", bound=Module)


def freeze(program: M, *parameters: str, before: str = "", after: str = "", demos: Iterable[Any] = ()) -> M:
    """Keep parts of a program's predictors as they are, whoever optimizes it; gives the program.

        lampc.freeze(program.answer)                                    all of this predictor
        lampc.freeze(program, "instruction", "layout")                  these parameters of all its predictors
        lampc.freeze(program, before="Never name a customer.")          this text stands before every instruction
        lampc.freeze(program, demos=[lampc.Example(...)])               these demos come first in every prompt

    An instruction that holds the text already gets it no second time, so a sentence of an instruction is frozen by
    saying it. What optimizers propose is the rest. Several calls add up. Raises TypeError for what is no module,
    ValueError for a parameter that does not exist and for demos that have none of a predictor's outputs.
    """
    if not isinstance(program, Module):
        raise TypeError(f"freeze takes a module or one of its predictors, not {type(program).__name__}")
    for name in parameters:
        if name not in PARAMETERS:
            near = get_close_matches(name, PARAMETERS, 1)
            guess = f" (did you mean `{near[0]}`?)" if near else ""
            raise ValueError(f"a predictor has no parameter `{name}`{guess}; there are {', '.join(PARAMETERS)}")
    shown = demo_set(demos)
    chosen = parameters or (() if before or after or shown.items else PARAMETERS)
    for name, predictor in program.named_predictors():
        outputs = [f.name for f in predictor.ir_signature().outputs]
        for demo in shown.items:
            if not any(o in demo.values for o in outputs):
                whose = "this predictor" if name == "self" else f"`{name}`"
                raise ValueError(f"a demo of {whose} has none of its outputs, {', '.join(outputs)}: {demo.values!r}")
        kept: Kept = predictor.kept
        predictor.frozen = tuple(p for p in PARAMETERS if p in (*predictor.frozen, *chosen))
        predictor.kept = Kept(_joined(kept.before, before), _joined(kept.after, after), kept.shown(shown))
    return program


def _joined(first: str, second: str) -> str:
    return first if second in first else "\n".join(t for t in (first, second) if t)


def frozen_state(predictor: Predict[Any]) -> dict[str, Any]:
    """What is frozen of a predictor, as a saved state has it; empty for nothing."""
    kept = predictor.kept
    if not predictor.frozen and kept == Kept():
        return {}
    demos = [{**thaw(d.values), **({"augmented": True} if d.augmented else {})} for d in kept.demos.items]
    return {"parameters": list(predictor.frozen), "before": kept.before, "after": kept.after, "demos": demos}


def load_frozen(predictor: Predict[Any], state: Mapping[str, Any]) -> None:
    """The way back. A state that says nothing leaves the predictor as it is."""
    if not state:
        return
    predictor.frozen = tuple(state.get("parameters", ()))
    demos = demo_set([Example(d) for d in state.get("demos", ())])
    predictor.kept = Kept(state.get("before", ""), state.get("after", ""), demos)
