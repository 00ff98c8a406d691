"""Wrong files and the exact diagnostics that they get (`errors/*.txt`, rewritten by `pytest --update`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.frontend.lmp.codes import CODES
from lampc.ir import CODES as ALL_CODES
from lampc.ir import CompileError, Source, render
from lampc.passes.optimize import findings

ERRORS = Path(__file__).parent / "errors"
CASES = sorted(p.stem for p in ERRORS.glob("L*.lmp"))


def diagnose(name: str) -> str:
    """All diagnostics of a file, as a terminal shows them."""
    path = Path(f"{name}.lmp")
    text = path.read_text(encoding="utf-8")
    try:
        unit = compile_lmp(text, str(path), findings)
    except CompileError as e:
        return f"{e}\n"
    return "\n\n".join(render(w, [Source(str(path), text)]) for w in unit.warnings) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_diagnostics(name: str, golden: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ERRORS)
    found = diagnose(name)
    assert f"[{name.partition('_')[0]}]" in found, found
    golden(ERRORS / f"{name}.txt", found)


def test_enough_wrong_files() -> None:
    assert len(CASES) >= 40


def test_every_code_is_explained_and_shown() -> None:
    sources = [p for p in Path(compile_lmp.__code__.co_filename).parent.glob("*.py") if p.stem != "codes"]
    raised = {c for p in sources for c in re.findall(r'"(L0\d{3})"', p.read_text(encoding="utf-8"))}
    assert raised == set(CODES)
    assert CODES.items() <= ALL_CODES.items()
    shown = {c for p in ERRORS.glob("*.txt") for c in re.findall(r"\[(L\d{4})\]", p.read_text(encoding="utf-8"))}
    assert set(CODES) - shown == {"L0620"}  # raised by the way back to source: test_emit.py


def test_explanations_have_a_title_and_a_text() -> None:
    for code, text in CODES.items():
        title, _, body = text.partition("\n")
        assert title, code
        assert not title.endswith("."), code
        assert body.endswith("."), code
