"""Diagnostics as text: the right line, shown so that any terminal can show it."""

from __future__ import annotations

from lampc.ir import Diagnostic, Label, Source, Span, render
from lampc.ir.diag import there_are


def shown(text: str, line: int, column: int, end: int = 0) -> list[str]:
    span = Span("f", line, column, line, end)
    return render(Diagnostic("L0001", "wrong", Label(span)), [Source("f", text)]).splitlines()[3:]


def test_a_line_ends_at_a_line_feed_only() -> None:
    assert shown("a = \u2028 \x0c;\nb = 1;\n", 2, 1, 2)[0] == "2 | b = 1;"


def test_a_very_long_line_is_shown_around_the_place() -> None:
    line, carets = shown("x" * 100_000 + "HERE" + "y" * 100_000, 1, 100_001, 100_005)
    assert len(line) < 400
    assert line[carets.index("^") : carets.index("^") + 4] == "HERE"
    line, carets = shown("HERE" + "y" * 100_000, 1, 1, 100_005)
    assert line.startswith("1 | HEREy")
    assert len(carets) < 400


def test_control_characters_do_not_reach_the_terminal() -> None:
    line, carets = shown("a\x1b[2Jb\ud800 c", 1, 9, 10)
    assert line == "1 | a\ufffd[2Jb\ufffd c"
    assert line[carets.index("^")] == "c"


def test_there_is_one_and_there_are_many() -> None:
    assert there_are(["a"]) == "there is a"
    assert there_are(n for n in ("a", "b")) == "there are a, b"
    assert there_are([]) == "there are none"
    assert there_are([], "no values") == "there are no values"
