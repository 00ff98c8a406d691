"""Grammars that would hold the engine for long are refused in short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lampc.backend.errors import BadGrammar
from lampc.backend.grammar import trial
from lampc.backend.grammar.compiled import read_elsewhere, schema_refused
from lampc.backend.grammar.texts import json_schema
from lampc.backend.grammar.trial import may_take_long

LONG = "B: /(.{311})*/\nC: /(.{313})*/\nD: /(.{317})*/\n"
SHORT = "start: A\nA: /[ab]+/ & /.{3}/\n"


@pytest.fixture(autouse=True)
def nothing_tried_yet() -> None:
    trial.try_out.cache_clear()


@pytest.mark.parametrize(
    ("grammar", "yes"),
    [
        ("start: A\nA: /a+/ & /.{3}/", True),
        ("start: A\nA: B & C\nB: /a/\nC: /b/", True),
        ('start: "&" /x&y/', False),
        ('start: %json {"enum": ["a & b", "\\"&"]}', False),
        ("start: A // this & that\nA: /a/", False),
        ('start: /x\n"/ A\nA: /a/ & /b/\nB: "b"', True),  # patterns go over lines
        ("start: A\nA: ~(~/a/ | ~/b/)", True),
        ('start: %json {"multiple\\u004ff": 5}', True),
        (json_schema({"type": "integer", "multipleOf": 5}), True),
        (json_schema({"type": "integer"}), False),
    ],
)
def test_which_grammars_are_tried(grammar: str, yes: bool) -> None:
    assert may_take_long(grammar) is yes


@pytest.mark.parametrize(
    "grammar",
    [
        f"start: A\nA: B & C & D\n{LONG}",
        f"start: A <[300]>\nA: B & C & D\n{LONG}",
        f"start: A | <|im_end|>\nA: B & C & D\n{LONG}",
        f"start: LEAD A\nA: B & C & D\n{LONG}",
        f'start: A\nE: /x\n"/\nA: B & C & D\n{LONG}F: ""\n',
        f"start: A\nA: ~(~B | ~C | ~D)\n{LONG}",
        json_schema({"type": "integer", "multipleOf": 1_000_003}),
    ],
    ids=["plain", "token", "unknown token", "lead", "lines", "not", "multiples"],
)
def test_what_takes_long_to_read_is_refused(grammar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the trial has not got, or does not see, would be a way around it."""
    monkeypatch.setattr(trial, "SECONDS", 1)
    with pytest.raises(BadGrammar, match="takes too long to read: over 2 s"):
        read_elsewhere(grammar)


def test_what_takes_too_much_memory_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MEMORY", 100 << 20)
    monkeypatch.setattr(trial, "SECONDS", 10)
    with pytest.raises(BadGrammar, match="takes too much memory to read: over 4 GiB"):
        read_elsewhere(f"start: A\nA: B & C & D\n{LONG}")


def test_what_was_refused_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    def killed(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        tried.append(command)
        return subprocess.CompletedProcess(command, -9, b"", b"")

    monkeypatch.setattr(subprocess, "run", killed)
    for _ in range(3):
        with pytest.raises(BadGrammar, match="too long"):
            read_elsewhere(SHORT)
    assert len(tried) == 1


def test_modules_of_the_folder_are_not_taken_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("resource", "llguidance"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    read_elsewhere(SHORT)


@pytest.mark.parametrize("program", ["", None, "/nowhere/python", "/bin/false"])
def test_what_cannot_be_tried_is_refused(monkeypatch: pytest.MonkeyPatch, program: str | None) -> None:
    """Python in another program may have no `sys.executable`."""
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(BadGrammar, match="no process can be started to try it out"):
        read_elsewhere(SHORT)


@pytest.mark.parametrize(
    "grammar", [SHORT, json_schema({"type": "integer", "multipleOf": 7}), "start: /a/", "no grammar"]
)
def test_what_is_read_in_short_or_not_tried_is_left_to_the_engine(grammar: str) -> None:
    read_elsewhere(grammar)


def test_a_process_that_waits_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: Any, timeout: float, **options: Any) -> Any:
        raise subprocess.TimeoutExpired(args, timeout)

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(BadGrammar, match="shorten these"):
        read_elsewhere(SHORT)


def test_what_is_wrong_with_it_is_said_as_ever() -> None:
    with pytest.raises(BadGrammar, match="line 2"):
        read_elsewhere("start: A\nA: /a/ & B\n")


def test_schemas_are_looked_at_by_themselves_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `lampc serve` does to say which of several tools cannot be used."""
    monkeypatch.setattr(trial, "SECONDS", 1)
    assert schema_refused({"type": "integer", "multipleOf": 1_000_003})
    assert not schema_refused({"type": "integer", "multipleOf": 7})
