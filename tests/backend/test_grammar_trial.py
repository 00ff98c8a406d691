"""Grammars that would hold an engine for long are found out in short."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from lampc.backend.errors import BadGrammar
from lampc.backend.grammar import trial
from lampc.backend.grammar.trial import intersects, try_out


@pytest.mark.parametrize(
    ("grammar", "yes"),
    [
        ("start: A\nA: /a+/ & /.{3}/", True),
        ("start: A\nA: B & C\nB: /a/\nC: /b/", True),
        ('start: "&" /x&y/', False),
        ('start: %json {"enum": ["a & b", "\\"&"]}', False),
        ("start: A // this & that\nA: /a/", False),
    ],
)
def test_which_grammars_intersect_terminals(grammar: str, yes: bool) -> None:
    assert intersects(grammar) is yes


@pytest.mark.parametrize("end", ["", " <[300]>", " | <|im_end|>"])
def test_what_takes_long_to_read_is_refused(end: str) -> None:
    """Special tokens that the trial has not got are no way around it."""
    with pytest.raises(BadGrammar, match="takes too long to read: over 2 s"):
        try_out(f"start: A{end}\nA: B & C & D\nB: /(.{{311}})*/\nC: /(.{{313}})*/\nD: /(.{{317}})*/\n")


def test_a_process_that_waits_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: Any, timeout: float, **options: Any) -> Any:
        raise subprocess.TimeoutExpired(args, timeout)

    monkeypatch.setattr(trial.subprocess, "run", late)
    with pytest.raises(BadGrammar, match="shorten these"):
        try_out("start: A\nA: /[ab]+/ & /.{3}/\n")


@pytest.mark.parametrize("grammar", ["start: A\nA: /[ab]+/ & /.{3}/\n", "start: A\nA: /a/ & B\n", "no grammar"])
def test_nothing_else_is_said_of_it(grammar: str) -> None:
    try_out(grammar)
