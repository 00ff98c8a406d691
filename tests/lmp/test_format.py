"""The formatter: idempotent, keeps every comment, changes no meaning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lampc.frontend.lmp import compile_lmp, format_lmp
from lampc.frontend.lmp.scan import comments, marks
from lampc.ir import CompileError
from tests.lmp.samples import EVERYTHING, EXAMPLES

HERE = Path(__file__).parent


def comment_texts(text: str) -> list[str]:
    return [c.text for c in comments(text, marks(text))]


def test_layout(golden: Callable[[Path, str], None]) -> None:
    golden(HERE / "golden" / "everything.formatted.lmp", format_lmp(EVERYTHING))


@pytest.mark.parametrize("text", [EVERYTHING, *(p.read_text(encoding="utf-8") for p in EXAMPLES)])
def test_idempotent_and_meaning_kept(text: str) -> None:
    once = format_lmp(text)
    assert format_lmp(once) == once
    assert comment_texts(once) == comment_texts(text)
    assert compile_lmp(once).module == compile_lmp(text).module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_are_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_lmp(text) == text


def test_no_line_is_needlessly_long() -> None:
    long = [line for line in format_lmp(EVERYTHING).splitlines() if len(line) > 100 and "demo" not in line]
    assert long == []


@pytest.mark.parametrize(
    "text",
    [
        "# only a comment\n",
        "\n\n\n# a\n\n\n\n# b\ntype A = str; # c\n\n# d\n",
        "module M(a: str) -> (b: str) {\n  # nothing but this\n  return (b: # odd\n a); # end\n  # last\n}\n",
        'module M(a: str) -> (b: str) { let x = if a == "" { # yes\n yield 1; # one\n } else { # no\n yield 2; };'
        " assert x > 0; return (b: a); }",
        "module M(a: list[str]) -> (b: int) {\n  let n = len(\n    # inside\n    a,   # behind\n  );\n"
        "  return (b: n);\n}\n",
        'retriever r = bm25(\n  # inside\n  "a.csv", # behind\n  k: 3);\ntype A = str;\n',
        'type A = # why\n  str;\ntest "t" { run M(a: 1); expect # what\n # for\n b; }\n',
        'test "t" { # open\n  run M(a: 1); # run\n\n\n  # alone\n  expect b; }\n',
    ],
)
def test_comments_in_odd_places(text: str) -> None:
    once = format_lmp(text)
    assert sorted(comment_texts(once)) == sorted(comment_texts(text))
    assert format_lmp(once) == once


def test_empty_file() -> None:
    assert format_lmp("") == ""
    assert format_lmp("\n\n") == ""


def test_blank_lines_are_kept_behind_odd_characters() -> None:
    text = 'signature S(x: str) -> (y: str) {\n  """a\u2028b"""\n}\n\nmodule M(x: str) -> (y: str) {\n'
    text += "  use s = Predict(S);\n  let a = s(x: x);\n\n  return (y: a.y);\n}\n"
    assert format_lmp(text) == text


def test_nesting_beyond_what_can_be_followed_is_an_error() -> None:
    with pytest.raises(CompileError, match="L0108"):
        format_lmp("module M(x: str) -> (y: any) {\n  return (y: " + "[" * 3000 + "]" * 3000 + ");\n}\n")


def test_broken_text_is_an_error() -> None:
    with pytest.raises(CompileError, match="L0102"):
        format_lmp("type A = str")
