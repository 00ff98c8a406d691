"""Cutting a template's text into its outermost parts: data, and pieces that stand for a value.

Jinja2's syntax tree knows lines only, so parts are found among its tokens, whose places in the text are known.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampc.ir.templates.codes import Findings

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

_NEWLINE = re.compile(r"\r\n|\r|\n")
_CLOSED = ("if", "for")
"""Tags that are translated; the others are findings."""
_HELP = {
    "set": "write the value where it is used",
    "include": "put the text of the other template here",
    "import": "put the macro's text where it is called",
    "from": "put the macro's text where it is called",
    "extends": "put the text of the other template here",
    "block": "leave out the tag, keep its text",
    "macro": "write the text where the macro is called",
    "call": "write the text where the macro is called",
    "filter": "apply the filter to each value: {{ name | filter }}",
    "with": "write the value where it is used",
    "autoescape": "leave out the tag: prompts are not HTML; use the filter `e` for a value that is to be escaped",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its offset in the text."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Part:
    """Data (`tokens` is empty), or the source of a piece with its tokens."""

    text: str
    at: int
    tokens: tuple[Token, ...] = ()


@functools.lru_cache(maxsize=4)
def environment(trim_blocks: bool = False, lstrip_blocks: bool = False) -> ImmutableSandboxedEnvironment:
    """Jinja2 as it renders pieces: in its sandbox, without escaping."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        trim_blocks=trim_blocks, lstrip_blocks=lstrip_blocks, keep_trailing_newline=True, autoescape=False
    )


def normalized(text: str) -> str:
    """A template's text as Jinja2 takes it: newlines as `\\n`, the last one dropped."""
    text = _NEWLINE.sub("\n", text)
    return text.removesuffix("\n")


def tokens(text: str, trim_blocks: bool, lstrip_blocks: bool) -> list[Token]:
    """Tokens with their places. Raises jinja2.TemplateSyntaxError."""
    out, at = [], 0
    for _, kind, value in environment(trim_blocks, lstrip_blocks).lex(text):
        found = text.find(value, at)
        at = found if found >= 0 else at
        out.append(Token(kind, value, at))
        at += len(value)
    return out


def parts(text: str, trim_blocks: bool, lstrip_blocks: bool, findings: Findings) -> Iterator[Part]:
    """The outermost parts of a text that Jinja2 can parse; what they add up to is the whole."""
    stream = tokens(text, trim_blocks, lstrip_blocks)
    i = 0
    while i < len(stream):
        token = stream[i]
        if token.kind == "data":
            yield Part(token.text, token.at)
            i += 1
        elif token.kind == "variable_begin":
            end = _find(stream, i, "variable_end")
            yield _piece(text, stream, i, end)
            i = end + 1
        elif token.kind == "block_begin":
            name = _tag(stream, i)
            if name.text in _CLOSED:
                end = _closing(stream, i)
                yield _piece(text, stream, i, end)
                i = end + 1
            else:
                if not name.text.startswith("end"):
                    help_ = _HELP.get(name.text, "")
                    findings.add("L0952", f"`{{% {name.text} %}}` has no translation", name.at, len(name.text), help_)
                end = _find(stream, i, "block_end")
                findings.refused |= {t.text for t in stream[i:end] if t.kind == "name"}
                i = end + 1
        else:
            i += 1


def unclosed(text: str, trim_blocks: bool, lstrip_blocks: bool) -> Token | None:
    """The innermost tag that is opened and never closed, if the text can be cut into tokens."""
    from jinja2 import TemplateSyntaxError

    try:
        stream = tokens(text, trim_blocks, lstrip_blocks)
    except TemplateSyntaxError:
        return None
    opened: list[Token] = []
    for i, token in enumerate(stream):
        if token.kind == "block_begin" and any(t.kind == "name" for t in stream[i:]):
            name = _tag(stream, i)
            if name.text.startswith("end"):
                opened = opened[:-1]
            elif name.text in (*_CLOSED, "macro", "call", "filter", "block", "with", "autoescape"):
                opened.append(name)
    return opened[-1] if opened else None


def _piece(text: str, stream: list[Token], start: int, end: int) -> Part:
    last = stream[end]
    closing = last.at + len(last.text.rstrip("\n") if last.text.endswith("\n") else last.text)
    return Part(text[stream[start].at : closing], stream[start].at, tuple(stream[start : end + 1]))


def _find(stream: list[Token], i: int, kind: str) -> int:
    return next(j for j in range(i, len(stream)) if stream[j].kind == kind)


def _tag(stream: list[Token], i: int) -> Token:
    return next(t for t in stream[i:] if t.kind == "name")


def _closing(stream: list[Token], i: int) -> int:
    """Index of the token that ends the block which begins at `i`."""
    depth = 0
    for j in range(i, len(stream)):
        if stream[j].kind == "block_begin":
            name = _tag(stream, j).text
            depth += name in _CLOSED
            depth -= name in ("endif", "endfor")
            if not depth:
                return _find(stream, j, "block_end")
    raise AssertionError("Jinja2 parsed a block that does not end")
