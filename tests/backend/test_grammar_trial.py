"""Grammars that would hold the engine for long are refused in short."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from lampc.backend.errors import BadGrammar
from lampc.backend.grammar import trial
from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.trial import intersects
from lampc.backend.tokenizer import ByteTokenizer


@pytest.fixture
def grammars() -> Grammars:
    return Grammars(ByteTokenizer(), 512)


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
def test_what_takes_long_to_read_is_refused(grammars: Grammars, end: str) -> None:
    """Special tokens that the trial has not got are no way around it."""
    with pytest.raises(BadGrammar, match="takes too long to read: over 2 s"):
        grammars.matcher(f"start: A{end}\nA: B & C & D\nB: /(.{{311}})*/\nC: /(.{{313}})*/\nD: /(.{{317}})*/\n")
    assert grammars.matcher("start: /a/") is not None, "the engine goes on"


def test_what_is_read_in_short_is_kept_to(grammars: Grammars) -> None:
    matcher = grammars.matcher("start: A\nA: /[ab]+/ & /.{3}/\n")
    assert matcher is not None
    assert matcher.accepts([97, 98, 97, 97]) == 3
    assert matcher.accepts([99]) == 0


def test_a_process_that_waits_is_not_waited_for(grammars: Grammars, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: Any, timeout: float, **options: Any) -> Any:
        raise subprocess.TimeoutExpired(args, timeout)

    monkeypatch.setattr(trial.subprocess, "run", late)
    with pytest.raises(BadGrammar, match="shorten these"):
        grammars.matcher("start: A\nA: /[ab]+/ & /.{3}/\n")


def test_what_is_wrong_with_it_is_said_as_ever(grammars: Grammars) -> None:
    with pytest.raises(BadGrammar, match="line 2"):
        grammars.matcher("start: A\nA: /a/ & B\n")
