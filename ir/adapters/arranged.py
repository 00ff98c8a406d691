"""Prompts in another order of their blocks: the layout `compact[context,instruction,demos,question]`.

The blocks of a prompt are `instruction` (all that a layout says of the task: instruction, fields, structure), `demos`,
and each input by its name. What stands before `demos` is the system's message, demos are turns of their own as ever,
what stands behind them is the user's message. A history stays before the user's message, a reminder at its end. A demo
shows its inputs in the same order. Nothing of a block's text changes but the space between blocks.

Sharing is of prefixes, so what many calls have in common belongs in front; `lampc layout` looks for such an order.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Protocol, TypeVar

from lampc.ir.adapters.schema import is_history
from lampc.ir.content import Field, Signature
from lampc.ir.prompt import Demos, Input, Output, Prompt, Segment, Text, Turn

INSTRUCTION, DEMOS = "instruction", "demos"
"""The blocks that are no inputs."""
_NAME = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")


class Arrangeable(Protocol):
    """A layout whose blocks can be told apart. `blocks` is the order in force, () for the layout's own."""

    name: str
    blocks: tuple[str, ...]
    between: str

    def task(self, signature: Signature, predictor: str) -> list[Segment]: ...

    def slot(self, index: int, field: Field, first: bool) -> list[Segment]: ...

    def reminder(self, signature: Signature) -> str: ...


_A = TypeVar("_A")


def parts_of(layout: str) -> tuple[str, tuple[str, ...]]:
    """The layout's own name and the order that it names, () for none. Raises ValueError for what is no such name."""
    if "[" not in layout:
        return layout, ()
    found = _NAME.fullmatch(layout)
    blocks = tuple(b.strip() for b in found[2].split(",")) if found else ()
    if found is None or not all(blocks):
        raise ValueError(f"`{layout}` is no layout: an order is written as `compact[instruction,demos,question]`")
    if twice := next((b for b in blocks if blocks.count(b) > 1), None):
        raise ValueError(f"`{layout}`: `{twice}` stands twice in the order")
    return found[1], blocks


def base_of(layout: str) -> str:
    """The layout without its order. Templates are what they are."""
    return layout if layout.startswith(("template:", "slot:")) else layout.partition("[")[0]


def like(layout: str, base: str) -> str:
    """Another layout in the order of this one."""
    return base + layout[len(base_of(layout)) :]


def arranged(how: _A, name: str, blocks: tuple[str, ...]) -> _A:
    """A layout in this order. Raises ValueError for one whose blocks cannot be moved."""
    if not hasattr(how, "task"):
        raise ValueError(f"`{name}`: this layout has one order only; compact, chat, json, xml and baml take another")
    made = copy.copy(how)
    made.name, made.blocks = name, blocks  # type: ignore[attr-defined]
    return made


def own_blocks(signature: Signature) -> tuple[str, ...]:
    """The blocks in the order that layouts have by themselves. Raises ValueError for inputs named like a block."""
    inputs = [f.name for f in signature.inputs if f.given and not is_history(f)]
    if clash := next((n for n in inputs if n in (INSTRUCTION, DEMOS)), None):
        raise ValueError(f"the input `{clash}` cannot be told from the block `{clash}`: give it another name")
    return (INSTRUCTION, DEMOS, *inputs)


def complete(blocks: Iterable[str], signature: Signature) -> tuple[str, ...]:
    """An order of all blocks from one of some: instruction and demos that are not named stand in front, inputs behind.

    Raises ValueError for names of no block.
    """
    named, own = list(blocks), own_blocks(signature)
    if unknown := next((b for b in named if b not in own), None):
        near = get_close_matches(unknown, own, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(own)}"
        raise ValueError(f"the prompt has no block `{unknown}`; {hint}")
    front = [b for b in own[:2] if b not in named]
    return (*front, *named, *(b for b in own[2:] if b not in named))


def layout_in(base: str, blocks: Sequence[str], signature: Signature) -> str:
    """Name of a layout in an order of all blocks: the layout itself for its own order. Raises ValueError."""
    if wrong := misplaced(tuple(blocks), signature):
        raise ValueError(wrong)
    return base if tuple(blocks) == own_blocks(signature) else f"{base}[{','.join(blocks)}]"


def misplaced(blocks: tuple[str, ...], signature: Signature) -> str:
    """What is wrong with an order for a signature; "" if nothing is."""
    try:
        whole = complete(blocks, signature)
    except ValueError as e:
        return str(e)
    if sorted(whole) != sorted(blocks):
        return f"the order leaves out {', '.join(f'`{b}`' for b in whole if b not in blocks)}"
    if blocks[-1] == DEMOS:
        return "something has to stand behind `demos`: the user's message"
    return ""


def render(how: Arrangeable, signature: Signature, predictor: str) -> Prompt:
    """The prompt of a call, blocks in the order of `how`. Raises ValueError if that does not fit the signature."""
    if wrong := misplaced(how.blocks, signature):
        raise ValueError(f"layout `{how.name}`: {wrong}")
    at = how.blocks.index(DEMOS)
    ends = how.reminder(signature)
    system, user = (_message(how, signature, predictor, names) for names in (how.blocks[:at], how.blocks[at + 1 :]))
    if ends:
        user = joined([*user, Text(how.between + ends)])
    history = [Turn("history", (Input(i, f, how.name),)) for i, f in enumerate(signature.inputs) if is_history(f)]
    return Prompt(
        (
            *([Turn("system", tuple(system))] if system else []),
            Turn("demos", (Demos(predictor, how.name),)),
            *history,
            Turn("user", tuple(user)),
            Turn("assistant", (Output(tuple(f.name for f in signature.outputs)),)),
        )
    )


def in_order(signature: Signature, blocks: tuple[str, ...]) -> Signature:
    """The signature with its inputs in an order; those that it does not name stay behind."""
    if not blocks:
        return signature
    place = {b: i for i, b in enumerate(blocks)}
    return replace(signature, inputs=tuple(sorted(signature.inputs, key=lambda f: place.get(f.name, len(place)))))


def _message(how: Arrangeable, signature: Signature, predictor: str, names: Sequence[str]) -> list[Segment]:
    fields = {f.name: (i, f) for i, f in enumerate(signature.inputs)}
    out: list[Segment] = []
    for name in names:
        out += [Text(how.between)] if out else []
        out += how.task(signature, predictor) if name == INSTRUCTION else how.slot(*fields[name], first=True)
    return joined(out)


def joined(segments: Sequence[Segment]) -> list[Segment]:
    """Neighbouring texts joined."""
    out: list[Segment] = []
    for s in segments:
        if isinstance(s, Text) and out and isinstance(out[-1], Text):
            out[-1] = Text(out[-1].text + s.text)
        else:
            out.append(s)
    return out
