"""The text of one slot: a piece of a template, rendered by Jinja2 in its sandbox from the one value it depends on."""

from __future__ import annotations

import functools
from typing import Any

from lampc.ir.attrs import thaw
from lampc.ir.content import Demo, Field, Signature
from lampc.ir.prompt import Prompt
from lampc.ir.templates.scan import environment


class SlotLayout:
    """An adapter for single segments: what is asked of it is the text of an input, the instruction, or the demos.

    `piece` was checked when the template was translated; `name` is what segments call it by.
    """

    strict = False

    def __init__(self, piece: str, trim_blocks: bool = False, lstrip_blocks: bool = False, name: str = "") -> None:
        self.piece, self.trim_blocks, self.lstrip_blocks, self.name = piece, trim_blocks, lstrip_blocks, name

    def text(self, **values: Any) -> str:
        return piece_text(self.piece, self.trim_blocks, self.lstrip_blocks, values)

    def value(self, value: Any, field: Field) -> str:
        return self.text(**{field.name: value})

    def instruction(self, text: str) -> str:
        return self.text(instruction=text)

    def demos(self, demos: tuple[Demo, ...]) -> str:
        """Text of all demos inside of a turn."""
        return self.text(demos=[thaw(d.values) for d in demos])

    def render(self, signature: Signature, predictor: str) -> Prompt:
        raise TypeError("a slot of a template is no layout by itself")

    def demo(self, signature: Signature, demo: Demo) -> list[tuple[str, str]]:
        return []

    def order(self, signature: Signature, demos: tuple[Demo, ...]) -> tuple[Demo, ...]:
        return demos

    def history(self, signature: Signature, value: Any) -> list[tuple[str, str]]:
        return []

    def parse(self, signature: Signature, text: str) -> dict[str, Any]:
        raise TypeError("a slot of a template reads no answers")


def piece_text(piece: str, trim_blocks: bool, lstrip_blocks: bool, values: dict[str, Any]) -> str:
    """A piece rendered with `values`. Raises ValueError, naming the piece, where Jinja2 cannot render them."""
    try:
        return str(_compiled(piece, trim_blocks, lstrip_blocks).render(values))
    except Exception as e:  # filters may raise anything at values of an unexpected type
        raise ValueError(f"`{piece}` of the template cannot be rendered: {type(e).__name__}: {e}") from None


@functools.lru_cache(maxsize=1024)
def _compiled(piece: str, trim_blocks: bool, lstrip_blocks: bool) -> Any:
    return environment(trim_blocks, lstrip_blocks).from_string(piece)
