"""Parsing with Lark (LALR), reporting every syntax error and going on behind it.

An item with an error is mended and parsed again: a missing `;` is put in, any other broken statement is
blanked out. What is blanked out is remembered by the names in it, so that the checker does not complain
about names that it never saw.
"""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Any

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from lampc.frontend.lmp import ast, scan, syntax
from lampc.frontend.lmp.build_items import Build
from lampc.frontend.lmp.report import Reporter
from lampc.ir import Span

_TRIES = 12
"""Most errors reported of one item."""
_OPEN_ENDED = {"let", "return", "yield", "assert", "next", "use", "tune", "expect", "mock", "run"}
"""First words of statements that a `}` does not end."""


@functools.cache
def grammar() -> Lark:
    """The parser of one item."""
    text = files("lampc.frontend.lmp").joinpath("lmp.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=True)


def parse(text: str, path: str, report: Reporter) -> ast.File:
    """Parse a file. Errors go to `report`; what could be read is in the result."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    report.add_source(path, text)
    found = scan.marks(text)
    file = ast.File(path, text, [], scan.comments(text, found))
    for chunk in scan.chunks(text, found):
        item = _Item(file, chunk, report).parse()
        if item is not None:
            file.items.append(item)
    return file


class _Item:
    """One item: its text, changed by repairs, and its place in the file."""

    def __init__(self, file: ast.File, chunk: scan.Chunk, report: Reporter) -> None:
        self.file, self.chunk, self.report = file, chunk, report
        self.text = file.text[chunk.start : chunk.end]
        self.line = file.text.count("\n", 0, chunk.start) + 1
        self.column = chunk.start - (file.text.rfind("\n", 0, chunk.start) + 1) + 1

    def parse(self) -> ast.Item | None:
        if self.chunk.unclosed >= 0:
            self.unclosed()
        for _ in range(_TRIES):
            try:
                tree = grammar().parse(self.text)
            except UnexpectedInput as e:
                if not self.mend(e):
                    break
            else:
                made: ast.Item = Build(self.file.path, self.line, self.column)(tree)
                return made
        self.lose(0, len(self.text))
        return None

    def at(self, start: int, end: int) -> Span:
        """Span of a range of `self.text`."""
        first, last = self.point(start), self.point(end)
        return Span(self.file.path, *first, *last)

    def point(self, pos: int) -> tuple[int, int]:
        line = self.text.count("\n", 0, pos)
        column = pos - (self.text.rfind("\n", 0, pos) + 1) + 1
        return self.line + line, column + (self.column - 1 if line == 0 else 0)

    def unclosed(self) -> None:
        """Report the bracket that nothing closes, and close it."""
        start = self.chunk.unclosed - self.chunk.start
        closing = {"{": "}", "(": ")", "[": "]"}
        stack: list[scan.Mark] = []
        for mark in scan.marks(self.text):
            scan.nest(stack, mark)
        bracket = self.text[start]
        help = f"add the missing `{closing[bracket]}`"
        self.report.error("L0103", f"this `{bracket}` is never closed", self.at(start, start + 1), help=help)
        self.text += "".join(" " + closing[m.text] for m in reversed(stack))

    def mend(self, error: UnexpectedInput) -> bool:
        """Report `error` and repair the text; false if nothing is left to try."""
        pos = getattr(error, "pos_in_stream", None)
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            pos = len(self.text.rstrip())
        assert pos is not None
        accepts = _accepts(error)
        before = [m for m in scan.marks(self.text, 0, pos) if m.kind != "comment"]
        after = [m for m in scan.marks(self.text, pos) if m.kind != "comment"]
        finding = syntax.describe(before, after, accepts, isinstance(error, UnexpectedCharacters))
        echo = self.chunk.unclosed >= 0 and pos >= self.chunk.end - self.chunk.start
        if not echo:
            span = self.at(*(finding.start, finding.end) if finding.start >= 0 else (pos, pos + 1))
            self.report.error(finding.code, finding.message, span, finding.label, help=finding.help)
        if finding.insert:
            head = before[-1].end if before else pos
            self.text = self.text[:head] + finding.insert + self.text[head:]
            return True
        return self.blank(pos)

    def blank(self, pos: int) -> bool:
        """Blank out the statement around `pos`; false if there is none, or nothing to blank."""
        units = [m for m in scan.marks(self.text) if m.kind != "comment"]
        starts = [0]
        first: list[str] = [""]
        for mark in units:
            if mark.start >= pos:
                break
            if not first[-1]:
                first[-1] = mark.text
            if mark.text == "{":
                starts.append(mark.end)
                first.append("")
            elif mark.text == "}" and len(starts) > 1:
                starts.pop()
                first.pop()
                if first[-1] not in _OPEN_ENDED:
                    starts[-1], first[-1] = mark.end, ""
            elif mark.kind == "semi":
                starts[-1], first[-1] = mark.end, ""
        if len(starts) == 1:
            return False
        start, end = starts[-1], self.statement_end(units, starts[-1], pos)
        if not self.text[start:end].strip():
            return False
        self.lose(start, end)
        kept = "".join(c if c == "\n" else " " for c in self.text[start:end])
        self.text = self.text[:start] + kept + self.text[end:]
        return True

    def statement_end(self, units: list[scan.Mark], start: int, pos: int) -> int:
        """Where the statement that begins at `start` and goes on at `pos` ends."""
        depth = 0
        inside = [m for m in units if m.start >= start]
        for mark in inside:
            if mark.text == "{":
                depth += 1
            elif mark.text == "}":
                depth -= 1
                if depth < 0:
                    return mark.start
                if depth == 0 and mark.start >= pos and inside[0].text not in _OPEN_ENDED:
                    return mark.end
            elif mark.kind == "semi" and depth == 0 and mark.start >= pos:
                return mark.end
        return len(self.text)

    def lose(self, start: int, end: int) -> None:
        self.file.lost |= {m.text for m in scan.marks(self.text, start, end) if m.kind == "word"}


def _accepts(error: UnexpectedInput) -> set[str]:
    parser: Any = getattr(error, "interactive_parser", None)
    if parser is not None:
        return set(parser.accepts())
    return set(getattr(error, "allowed", None) or ())
