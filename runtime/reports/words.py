"""Two texts word by word: what stayed, what went, what came."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["=", "-", "+"]
Edit: TypeAlias = tuple[Kind, str]
"""A piece of both texts, of the first alone, or of the second alone."""

MOST_WORDS = 3000
"""Longer texts are compared line by line."""
_WORD = re.compile(r"\w+|[^\w\s]|\s+")


def word_edits(before: str, after: str) -> list[Edit]:
    """Pieces that together give `before` (without `+`) and `after` (without `-`)."""
    a, b = _WORD.findall(before), _WORD.findall(after)
    if len(a) + len(b) > MOST_WORDS:
        return line_edits(before, after)
    return _edits(a, b)


def line_edits(before: str, after: str) -> list[Edit]:
    """The same by whole lines; each piece ends where a line does."""
    return _edits(before.splitlines(keepends=True), after.splitlines(keepends=True))


def _edits(a: Sequence[str], b: Sequence[str]) -> list[Edit]:
    out: list[Edit] = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            out.append(("=", "".join(a[i:j])))
            continue
        out += [("-", "".join(a[i:j]))] if j > i else []
        out += [("+", "".join(b[k:m]))] if m > k else []
    return _joined(out)


def _joined(edits: list[Edit]) -> list[Edit]:
    """A lone space between two changes belongs to both: changed phrases read as one."""
    out: list[Edit] = []
    for kind, text in edits:
        out.append((kind, text))
        if len(out) >= 2 and kind != "=" and len(out) > 2 and out[-2][0] == "=" and not out[-2][1].strip():
            gap = out[-2][1]
            if "\n" not in gap and out[-3][0] != "=":
                out[-2:] = [("-", gap), ("+", gap), (kind, text)]
    return _grouped(out)


def _grouped(edits: list[Edit]) -> list[Edit]:
    """Neighbouring changes as one deletion and one insertion."""
    out: list[Edit] = []
    gone, come = "", ""
    for kind, text in [*edits, ("=", "")]:
        if kind == "=":
            out += [("-", gone)] if gone else []
            out += [("+", come)] if come else []
            out += [("=", text)] if text else []
            gone, come = "", ""
        elif kind == "-":
            gone += text
        else:
            come += text
    return out


def plain(edits: Sequence[Edit], color: bool = False) -> str:
    """For a terminal: `[-gone-]` and `{+come+}`, or red and green."""
    marks = {"=": ("", ""), "-": ("[-", "-]"), "+": ("{+", "+}")}
    if color:
        marks = {"=": ("", ""), "-": ("\x1b[31;9m", "\x1b[0m"), "+": ("\x1b[32m", "\x1b[0m")}
    return "".join(marks[kind][0] + text + marks[kind][1] for kind, text in edits)
