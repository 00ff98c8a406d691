"""docs/language.md: its tables are those of the declarations, its examples parse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lampc.frontend.lmp.parser import parse
from lampc.frontend.lmp.reference import filled
from lampc.frontend.lmp.report import Reporter

DOCUMENT = Path(__file__).parents[2] / "docs" / "language.md"


def test_tables(update: bool) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    if update:
        DOCUMENT.write_text(filled(text), encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == filled(text), "make golden"


def blocks() -> list[str]:
    return re.findall(r"```lmp\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", blocks())
def test_examples_parse(block: str) -> None:
    text = block.replace("  ...\n", "  return (reply: message);\n")
    if not re.match(r"(signature|type|model|dataset|module)", text):
        text = f"module M(x: str) -> (y: str) {{\n{text}\n}}\n"
    report = Reporter()
    parse(text, "language.md", report)
    assert not report.found, report.found


def test_every_word_of_the_grammar_is_described() -> None:
    grammar = (Path(parse.__code__.co_filename).parent / "lmp.lark").read_text(encoding="utf-8")
    words = set(re.findall(r'"([a-z]+)"', grammar))
    text = DOCUMENT.read_text(encoding="utf-8")
    assert {w for w in words if not re.search(rf"\b{w}\b", text)} == set()
