"""Prompts as data: turns of typed segments.

    Prompt = tuple of Turn          Turn = (role, segments)
    segment = Text | Guide | Instruction | Demos | Shots | Input | Output

A turn of role `demos` holds one `Demos` segment and stands for as many user/assistant turns as there are demos; one of
role `history` holds one `Input` segment, whose value is the conversation so far. `Instruction` and `Demos` name the
predictor whose parameter fills them, so one prompt serves every candidate. A *joint* is the place where two segments
meet: *hard* joints are tokenised apart (there is a special token on one side), *soft* ones together; turns always meet
at hard joints if the chat template puts a special token there (`lampc.ir.protocols.Glue`).
"""

from __future__ import annotations

from typing import TypeAlias

from lampc.ir.attrs import attribute
from lampc.ir.content import Field


@attribute("text")
class Text:
    """Fixed text. `hard` says that its left end is a hard joint."""

    text: str
    hard: bool = False


@attribute("guide")
class Guide:
    """Text derived from the signature: field descriptions and the expected structure."""

    text: str


@attribute("instruction")
class Instruction:
    """The predictor's instruction, as `adapter` writes it."""

    predictor: str
    adapter: str


@attribute("demo_turns")
class Demos:
    """The predictor's demos, rendered by `adapter` as turns."""

    predictor: str
    adapter: str


@attribute("shots")
class Shots:
    """The predictor's demos as text inside of a turn, rendered by `adapter`."""

    predictor: str
    adapter: str


@attribute("input")
class Input:
    """A slot for operand `index` of the request, rendered by `adapter` as a value of `field`."""

    index: int
    field: Field
    adapter: str


@attribute("output")
class Output:
    """What the model writes: the fields of the signature, read back by the adapter's parser."""

    fields: tuple[str, ...]


Segment: TypeAlias = Text | Guide | Instruction | Demos | Shots | Input | Output


MANY = ("demos", "history")
"""Roles of turns that stand for any number of user and assistant turns."""


@attribute("turn")
class Turn:
    """One message: a role (`system`, `user`, `assistant`, or one of `MANY`) and its segments."""

    role: str
    segments: tuple[Segment, ...]


@attribute("prompt")
class Prompt:
    """All that is sent, in order; the last turn is the assistant's and holds the `Output`."""

    turns: tuple[Turn, ...]

    def inputs(self) -> tuple[Input, ...]:
        return tuple(s for t in self.turns for s in t.segments if isinstance(s, Input))


@attribute("run")
class Run:
    """A stretch of segments between two hard joints: the unit of tokenisation and of `kv.extend`.

    `turns` is set instead of `segments` for a whole prompt that the chat template does not let us cut. The text
    of a run is made in one place, `lampc.passes.lower.run_text`.
    """

    segments: tuple[Segment, ...] = ()
    turns: tuple[Turn, ...] = ()
