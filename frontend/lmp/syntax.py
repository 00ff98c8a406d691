"""What to say about a syntax error: from what stands there and what could stand there."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from lampc.frontend.lmp.literals import RESERVED
from lampc.frontend.lmp.report import suggest
from lampc.frontend.lmp.scan import ITEM_WORDS, Mark


@dataclass(frozen=True, slots=True)
class Finding:
    """A syntax error; with `start` >= 0 its own place. `insert` is a text that mends it."""

    code: str
    message: str
    label: str = ""
    help: str = ""
    start: int = -1
    end: int = -1
    insert: str = ""


STATEMENT_WORDS = ("let", "use", "tune", "return", "yield", "if", "match", "loop", "next", "assert")
_EXPRESSION = {"NAME", "NUMBER", "STRING", "LSQB", "LPAR"}


@functools.cache
def _shown() -> dict[str, str]:
    from lark.lexer import PatternStr

    from lampc.frontend.lmp.parser import grammar

    named = {"NAME": "a name", "NUMBER": "a number", "STRING": "a text", "TEXT": "a text", "$END": "the end"}
    for terminal in grammar().terminals:
        if isinstance(terminal.pattern, PatternStr):
            named[terminal.name] = f"`{terminal.pattern.value}`"
    return named


def expected(accepts: set[str]) -> str:
    """What could have stood there, in words."""
    left = set(accepts)
    out = []
    if left >= _EXPRESSION:
        out.append("a statement" if "LET" in left else "an expression")
        words = {"IF", "MATCH", "MAP", "NOT", "TRUE", "FALSE", "NULL", "MINUS", "TEXT", "LBRACE"}
        left -= _EXPRESSION | words
    if "LET" in left:
        out.append("a statement")
        left -= {w.upper() for w in STATEMENT_WORDS} | {"NAME"}
    if {"NAME", "STRING", "LBRACE", "LPAR"} <= left:
        out.append("a type")
        left -= {"NAME", "STRING", "LBRACE", "LPAR"}
    operators = {"PLUS", "MINUS", "STAR", "SLASH", "PERCENT", "OR", "AND", "IN", "LSQB", "DOT", "AT", "LPAR"}
    if {"PLUS", "STAR"} <= left:
        shown = _shown()
        left = {t for t in left if t not in operators and shown.get(t, "").strip("`=!<>/*")}
    out += sorted({_shown().get(t, t.lower()) for t in left}, key=lambda w: (w[0] == "`", w))
    if len(out) > 5:
        out = [*out[:5], "..."]
    return out[0] if len(out) == 1 else ", ".join(out[:-1]) + (" or " + out[-1] if out else "")


def describe(before: list[Mark], after: list[Mark], accepts: set[str], bad_character: bool) -> Finding:
    """The finding at the first of `after` (none: the end of the item)."""
    previous = before[-1] if before else None
    here = after[0] if after else None
    at: dict[str, Any] = {"start": here.start, "end": here.end} if here else {}
    if not before and here and here.text not in ITEM_WORDS:
        return _stray(here)
    if here and here.text == '"':
        return Finding("L0104", "this text has no end", "it begins here", 'close it with `"`', **at)
    if bad_character and here:
        return Finding("L0106", f"the character `{here.text}` has no place in a program", **at)
    if here and here.text == "=" and "EQUAL" not in accepts and "__ANON" not in accepts and {"PLUS"} <= accepts:
        return Finding("L0107", "`=` does not compare", help="write `==` to compare, `let name = ...;` to define", **at)
    if (wrong := _misspelt(before, here)) is not None:
        return wrong
    if "SEMICOLON" in accepts and previous and not (here and here.kind in ("open", "string", "text")):
        breaks = here is None or here.kind in ("word", "close") or here.text == "@"
        if breaks:
            return Finding(
                "L0102",
                "expected `;`",
                "after this",
                "a statement ends with `;`",
                start=previous.start,
                end=previous.end,
                insert=";",
            )
    wanted = expected(accepts)
    if here is None:
        end = previous.end if previous else 0
        return Finding("L0101", f"the file ends here, expected {wanted}", start=max(0, end - 1), end=end)
    help = ""
    if here.kind == "word":
        if here.text in RESERVED and "NAME" in accepts:
            help = f"`{here.text}` is a word of the language: choose another name"
        else:
            words = [_shown()[t].strip("`") for t in accepts if _shown().get(t, "").startswith("`")]
            help = suggest(here.text, [w for w in words if w.isalpha()])
    return Finding("L0101", f"unexpected `{_short(here.text)}`, expected {wanted}", help=help, **at)


def _misspelt(before: list[Mark], here: Mark | None) -> Finding | None:
    """A word that begins a statement, is followed by another, and looks like a statement's first word."""
    if len(before) < 2 or here is None or here.kind not in ("word", "string"):
        return None
    word, edge = before[-1], before[-2]
    if word.kind != "word" or word.text in STATEMENT_WORDS or edge.text not in ("{", "}", ";"):
        return None
    words = (*STATEMENT_WORDS, "field", "demo", "layout", "mock", "run", "expect")
    help = suggest(word.text, words) or f"statements begin with {', '.join(STATEMENT_WORDS)}"
    return Finding("L0101", f"`{word.text}` begins no statement", help=help, start=word.start, end=word.end)


def _short(text: str) -> str:
    line = text.splitlines()[0]
    return line if len(line) <= 30 else line[:27] + "..."


def _stray(here: Mark) -> Finding:
    help = suggest(here.text, ITEM_WORDS) if here.kind == "word" else ""
    if not help and here.text in STATEMENT_WORDS:
        help = "statements stand inside a module: `module Name(input: str) -> (output: str) { ... }`"
    words = ", ".join(ITEM_WORDS)
    return Finding(
        "L0105",
        f"`{_short(here.text)}` begins nothing that a file may hold",
        help=help or f"a file holds: {words}",
        start=here.start,
        end=here.end,
    )
