"""Binding a prompt: its symbolic instruction and demos to a candidate, its slots to a row's values.

Interpreter, eager mode, executor and providers all get their text here, so they cannot differ.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from lampc.ir.adapters.base import ShowsDemos
from lampc.ir.adapters.joint import joint_demos, joint_instruction
from lampc.ir.adapters.registry import adapter
from lampc.ir.adapters.schema import is_history
from lampc.ir.content import NOTHING_KEPT, Assignment, Cascade, DemoSet, Kept, Signature
from lampc.ir.core import Module
from lampc.ir.prog import DefPredictor
from lampc.ir.prompt import MANY, Demos, Guide, Input, Instruction, Output, Prompt, Segment, Shots, Text, Turn


@dataclass(frozen=True, slots=True)
class Bound:
    """The parameters of one predictor under one candidate; what is to `keep` is among them already."""

    name: str
    signature: Signature
    instruction: str
    demos: DemoSet
    layout: str
    model: str
    keep: Kept = NOTHING_KEPT
    cascade: Cascade | None = None
    after: tuple[tuple[str, str], ...] = ()
    """The conversation that a call of it goes on with: (role, text) of each turn, not quoted."""

    def asking(self, model: str) -> Bound:
        """The same of another model, and of that alone."""
        return replace(self, model=model, cascade=None)


def bind_predictors(module: Module, assignment: Assignment | None = None) -> dict[str, Bound]:
    """Each predictor's parameters: the module's starting values, changed by `assignment`."""
    chosen = assignment or Assignment()
    out = {}
    for op in module.body.ops:
        if isinstance(op, DefPredictor):
            n = op.symbol
            out[n] = Bound(
                n,
                op.signature,
                op.keep.instruction(chosen.get(f"{n}.instruction", op.signature.instruction)),
                op.keep.shown(chosen.get(f"{n}.demos", op.demos)),
                chosen.get(f"{n}.layout", op.layout),
                chosen.get(f"{n}.model", op.model.name),
                op.keep,
                chosen.get(f"{n}.cascade", op.cascade),
            )
    for op in module.body.ops:
        if isinstance(op, DefPredictor) and op.joins:
            parts = [(part, out[part.predictor]) for part in op.joins]
            out[op.symbol] = replace(
                out[op.symbol],
                instruction=joint_instruction([(p, b.signature, b.instruction) for p, b in parts]),
                demos=joint_demos([(p, b.demos) for p, b in parts]),
            )
    return out


Quote = Callable[[str], str]
"""What is done to text that the program did not write itself; see `Target.quote`."""


def verbatim(text: str) -> str:
    """Text as it is: for endpoints, which know themselves what is data."""
    return text


def segment_text(segment: Segment, bound: Bound, inputs: Sequence[Any], quote: Quote = verbatim) -> str:
    """Text of one segment of a turn (not of `Demos`); instruction and values are quoted."""
    match segment:
        case Text(text) | Guide(text):
            return text
        case Instruction(_, name):
            return quote(adapter(name).instruction(bound.instruction))
        case Input(index, field, name):
            return quote(adapter(name).value(inputs[index], field))
        case Shots(_, name):
            how = adapter(name)
            return quote(how.demos(bound.demos.items)) if isinstance(how, ShowsDemos) else ""
        case Output():
            return ""
    raise TypeError(f"{type(segment).__name__} is not text")


def demo_turns(segment: Demos, bound: Bound, quote: Quote = verbatim) -> list[tuple[str, str]]:
    """The turns that a `Demos` segment stands for, quoted."""
    how = adapter(segment.adapter)
    demos = how.order(bound.signature, bound.demos.items)
    return [(role, quote(text)) for d in demos for role, text in how.demo(bound.signature, d)]


def shown_turns(
    segment: Segment, bound: Bound, inputs: Sequence[Any], quote: Quote = verbatim
) -> list[tuple[str, str]]:
    """The turns that a segment stands for, quoted; none for a segment that is text of one turn."""
    if isinstance(segment, Demos):
        return demo_turns(segment, bound, quote)
    if isinstance(segment, Input) and is_history(segment.field):
        turns = adapter(segment.adapter).history(bound.signature, inputs[segment.index])
        return [(role, quote(text)) for role, text in turns]
    return []


def bind_prompt(prompt: Prompt, bound: Bound, inputs: Sequence[Any], quote: Quote = verbatim) -> list[tuple[str, str]]:
    """The conversation to send: (role, text) of each turn but the last, which the model writes.

    Whoever turns it into the tokens of a model passes that target's `quote`.
    """
    if bound.after:
        before = [(role, quote(text)) for role, text in bound.after]
        return before + bind_turns(following(prompt).turns, bound, inputs, quote)
    return bind_turns(prompt.turns, bound, inputs, quote)


@functools.lru_cache(maxsize=256)
def following(prompt: Prompt) -> Prompt:
    """A prompt as it stands behind an earlier answer: what the system's message says opens the user's message, as chat
    templates have but one system's message, at the front."""
    task = [s for t in prompt.turns if t.role == "system" for s in t.segments]
    turns = [t for t in prompt.turns if t.role != "system"]
    at = max((i for i, t in enumerate(turns) if t.role == "user"), default=None)
    if at is None:
        turns.insert(len(turns) - 1, Turn("user", tuple(task)))
    elif task:
        turns[at] = Turn("user", (*task, Text("\n\n"), *turns[at].segments))
    return Prompt(tuple(turns))


def bind_turns(
    turns: Sequence[Turn], bound: Bound, inputs: Sequence[Any], quote: Quote = verbatim
) -> list[tuple[str, str]]:
    """The same for some turns of a prompt."""
    out: list[tuple[str, str]] = []
    for part in _prepared(turns, bound, quote):
        if isinstance(part, Input):
            out += shown_turns(part, bound, inputs, quote)
        elif isinstance(part[1], str):
            out.append(part)
        else:
            role, pieces = part
            texts = [
                p if isinstance(p, str) else quote(adapter(p.adapter).value(inputs[p.index], p.field)) for p in pieces
            ]
            out.append((role, "".join(texts)))
    return out


_Part: TypeAlias = Any
"""A turn that is the same for every row; a turn (role, pieces) with slots in it; or the slot of many turns."""
_kept: dict[tuple[Any, ...], tuple[Any, list[_Part]]] = {}
_MOST_KEPT = 1024


def _prepared(turns: Sequence[Turn], bound: Bound, quote: Quote) -> list[_Part]:
    """Turns with everything put in that does not depend on the row: made once for all rows of a candidate."""
    demos = bound.demos if bound.demos.items else None
    owner = getattr(quote, "__self__", quote)
    spot = (id(turns), id(bound.signature), id(demos), id(owner), bound.instruction)
    found = _kept.get(spot)
    if found is not None:
        return found[1]
    out: list[_Part] = []
    for turn in turns:
        if turn.role in MANY:
            for s in turn.segments:
                out += [s] if isinstance(s, Input) else shown_turns(s, bound, (), quote)
        elif not any(isinstance(s, Output) for s in turn.segments):
            pieces = [s if isinstance(s, Input) else segment_text(s, bound, (), quote) for s in turn.segments]
            slots = any(isinstance(p, Input) for p in pieces)
            out.append((turn.role, pieces if slots else "".join(map(str, pieces))))
    if len(_kept) >= _MOST_KEPT:
        _kept.clear()
    _kept[spot] = (turns, bound.signature, demos, owner), out  # what is held keeps its id
    return out


_prompts: dict[tuple[str, int, str], tuple[Signature, Prompt]] = {}


def prompt_of(bound: Bound) -> Prompt:
    """The prompt of a call, rendered once for each signature object."""
    spot = (bound.layout, id(bound.signature), bound.name)
    found = _prompts.get(spot)
    if found is None:
        if len(_prompts) >= _MOST_KEPT:
            _prompts.clear()
        made = adapter(bound.layout).render(bound.signature, bound.name)
        found = _prompts[spot] = bound.signature, made
    return found[1]


def parse_answer(bound: Bound, text: str) -> Mapping[str, Any]:
    """Outputs by name. Raises ParseFailure."""
    return adapter(bound.layout).parse(bound.signature, text)
