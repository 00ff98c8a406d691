"""The pages on the IR and on writing a pass say what is so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from lampc.ir.builtins import BUILTINS
from lampc.ir.define import OPS
from lampc.passes import PASSES

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_on_the_ir_is_made_from_the_declarations(update: bool) -> None:
    page = ROOT / "docs" / "ir.md"
    made: str = tool("make_ir_docs").render()
    if update:
        page.write_text(made, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == made, "run: make golden"
    for name in (*OPS, *BUILTINS):
        assert f"`{name}`" in made
    assert max(len(line) for line in made.splitlines() if not line.startswith("- attributes")) < 400


def test_the_example_of_writing_a_pass_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "writing-a-pass.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    (expected,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(compile(code, "writing-a-pass.md", "exec", dont_inherit=True), {"__name__": "writing_a_pass"})
    assert capsys.readouterr().out == expected
    for path in re.findall(r"`((?:passes|tests)/[\w/.-]+\.py)`", text):
        assert (ROOT / path).is_file(), path
    assert "tidy-text" not in PASSES
