"""Cutting a file into items, and collecting comments.

The parser sees one item at a time: that keeps errors where they are. An item ends at a `;` outside of all
brackets, or at the `}` that closes its body. An item word at the start of a line inside an open body means
that a `}` is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lampc.frontend.lmp.ast import Comment

ITEM_WORDS = (
    "import", "type", "model", "tool", "function", "retriever", "signature", "module", "dataset", "metric",
    "optimize", "test",
)  # fmt: skip

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<text>\"\"\"[\s\S]*?\"\"\")|(?P<string>"(?:[^"\\\n]|\\.)*")"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<open>[\[({])|(?P<close>[\])}])|(?P<semi>;)|(?P<other>\S)""",
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A lexical unit with its place in the text: enough to find brackets, ends and names."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """The text of one item. `unclosed` is the position of an opening bracket that nothing closes."""

    start: int
    end: int
    unclosed: int = -1


def marks(text: str, start: int = 0, end: int | None = None) -> list[Mark]:
    """Lexical units of `text[start:end]`, comments included."""
    found = _TOKEN.finditer(text, start, len(text) if end is None else end)
    return [Mark(m.lastgroup or "", m.group(), m.start(), m.end()) for m in found]


def comments(text: str, found: list[Mark]) -> list[Comment]:
    """All comments, in order."""
    out = []
    for mark in found:
        if mark.kind == "comment":
            head = text.rfind("\n", 0, mark.start) + 1
            line = text.count("\n", 0, mark.start) + 1
            alone = not text[head : mark.start].strip()
            out.append(Comment(mark.text.rstrip(), line, mark.start - head + 1, alone))
    return out


def chunks(text: str, found: list[Mark]) -> list[Chunk]:
    """The items of a file, in order."""
    units = [m for m in found if m.kind != "comment"]
    out: list[Chunk] = []
    begin, opened = -1, list[Mark]()
    for i, mark in enumerate(units):
        fresh_line = mark.start == 0 or text[mark.start - 1] == "\n"
        if opened and fresh_line and _starts_item(units, i):
            out.append(Chunk(begin, units[i - 1].end, opened[0].start))
            begin, opened = -1, []
        if begin < 0:
            begin = mark.start
        nest(opened, mark)
        following = units[i + 1] if i + 1 < len(units) else None
        ends = mark.kind == "semi" or (mark.text == "}" and not (following and following.kind == "semi"))
        if not opened and ends:
            out.append(Chunk(begin, mark.end))
            begin = -1
    if begin >= 0:
        out.append(Chunk(begin, units[-1].end, opened[0].start if opened else -1))
    return out


def nest(opened: list[Mark], mark: Mark) -> None:
    """Keep the stack of open brackets. A `;` or `}` ends the parentheses that nothing closed before it."""
    if mark.kind == "open":
        opened.append(mark)
    elif mark.kind == "semi" or mark.text == "}":
        while opened and opened[-1].text != "{":
            opened.pop()
        if opened and mark.text == "}":
            opened.pop()
    elif mark.kind == "close" and opened and opened[-1].text != "{":
        opened.pop()


def _starts_item(units: list[Mark], i: int) -> bool:
    """An item word followed by what follows an item word: a name, or a text."""
    if units[i].text not in ITEM_WORDS or i + 1 >= len(units):
        return False
    return units[i + 1].kind in ("word", "string")
