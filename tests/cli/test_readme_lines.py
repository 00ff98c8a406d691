"""The README's lines run as they stand there, on the example that it names for them."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Result

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STANDS_FOR = {
    "out/notes/tuned.lampc": "01_classify.lampc",
    "out/notes": "out/01_classify",
    "notes.lmp": "01_classify.lmp",
    "new.csv": "data/01_tickets.csv",
    " ask ": " classify ",
}
"""What is to be read for what, longest first."""


def lines() -> list[str]:
    """Command lines without the words beside them; a server does not end, and a file of prompts is anybody's."""
    shown = re.findall(r"^lampc (.+?)(?:   .*)?$", README[: README.index("## What the demo shows")], re.MULTILINE)
    return [line for line in shown if not line.startswith(("serve ", "batch "))]


@pytest.mark.timeout(240)
def test_lines_run(folder: Path, lampc: Callable[..., Result]) -> None:
    for name in ("01_classify.lmp", "data"):
        source = ROOT / "examples" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    said = next(text for text in README.split("\n\n") if text.startswith("`notes.lmp` and its table stand for yours."))
    for mine in STANDS_FOR.values():
        assert f"`{mine.strip()}`" in said
    for line in lines():
        typed = f"{line} "
        for shown, mine in STANDS_FOR.items():
            typed = typed.replace(shown, mine)
        result = lampc(*shlex.split(typed))
        assert result.code == 0, f"lampc {typed}\n{result.err}"
