"""Programs that declare models: each has a prefix tree of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Result

Lampc = Callable[..., Result]
PROGRAM = """model small = engine("firefly", kv_tokens: 4096);
signature Sort(text: str) -> (label: "a" | "b") { \"\"\"Say a or b.\"\"\" }
module Main(text: str) -> (here: str, there: str) {
  use here = Predict(Sort);
  use there = Predict(Sort) @model(small);
  let x = here(text: text);
  let y = there(text: text);
  return (here: x.label, there: y.label);
}
"""


def test_they_run_and_share_no_token(lampc: Lampc, folder: Path) -> None:
    (folder / "two.lmp").write_text(PROGRAM, encoding="utf-8")
    ran = lampc("run", "two.lmp", "-i", "text=some", "--model", "firefly")
    assert ran.code == 0, ran.err
    (folder / "rows.jsonl").write_text('{"text": "some"}\n', encoding="utf-8")
    told = lampc("explain", "two.lmp", "--data", "rows.jsonl", "--model", "firefly", "--analyze")
    assert told.code == 0, told.err
    assert re.search(r"needs [\d,]+ \(\+0\.00 % computed above", told.out), told.out
