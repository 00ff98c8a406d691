"""What the README shows works: its programs compile, its two forms are one program, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

from lampc.frontend.lmp import compile_lmp, format_lmp
from lampc.frontend.python import load_python
from lampc.ir import Module
from lampc.ir.prog import Func
from lampc.runtime.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def program(module: Module) -> str:
    """IR text without the metrics."""
    kept = [op for op in module.body.ops if not isinstance(op, Func) or op.symbol == "Classify"]
    copy = module.clone()
    copy.body.ops = [c for c, o in zip(copy.body.ops, module.body.ops, strict=True) if o in kept]
    return str(copy)


def test_both_forms_are_one_program(tmp_path: Path) -> None:
    source = next(text for language, text in BLOCKS if language == "lmp")
    unit = compile_lmp(source, "notes.lmp")
    file = tmp_path / "notes.py"
    file.write_text(next(text for language, text in BLOCKS if language == "python"), encoding="utf-8")
    assert program(load_python(str(file)).module) == program(unit.module)
    assert unit.optimizes[0].program == "Classify"


def test_lmp_is_shown_in_its_one_layout() -> None:
    shown = [text for language, text in BLOCKS if language == "lmp"]
    assert shown == [format_lmp(text, "README.md") for text in shown]
    unmarked = [text for language, text in BLOCKS if not language and text.startswith(("signature ", "module "))]
    assert shown
    assert not unmarked


def test_commands_exist() -> None:
    shown = set(re.findall(r"^lampc (\w+)", README, re.MULTILINE))
    assert shown <= set(COMMANDS)
    assert len(shown) >= 8


def test_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    documents = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    used = {t for t in re.findall(r"\bmake ([a-z-]+)\b", documents) if t not in ("it",)}
    assert used <= targets


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/decisions/README.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"
