"""The numbered examples: the `.lmp` file and its Python twin give the same module and declarations."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lampc.frontend.lmp import compile_lmp, emit_lmp
from lampc.frontend.python import load_python
from lampc.ir import UNKNOWN, Unit

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(p.stem for p in EXAMPLES.glob("[0-9]*.lmp"))


def from_lmp(name: str) -> Unit:
    path = EXAMPLES / f"{name}.lmp"
    return compile_lmp(path.read_text(encoding="utf-8"), str(path))


def declared(unit: Unit) -> list[Any]:
    """What is declared beside the module, without places and the wording of expectations."""
    parts: list[Any] = [*unit.datasets.values(), *unit.metrics.values(), *unit.optimizes]
    tests = [replace(t, expects=tuple((s, "") for s, _ in t.expects)) for t in unit.tests]
    return [replace(p, loc=UNKNOWN) for p in (*parts, *tests)]


def test_every_example_has_a_twin() -> None:
    assert len(NAMES) >= 5
    assert sorted(p.stem for p in EXAMPLES.glob("[0-9]*.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_same_module(name: str) -> None:
    ours, theirs = str(from_lmp(name).module), str(load_python(str(EXAMPLES / f"{name}.py")).module)
    diff = "\n".join(difflib.unified_diff(ours.splitlines(), theirs.splitlines(), "lmp", "python", lineterm="", n=1))
    assert ours == theirs, diff


@pytest.mark.parametrize("name", NAMES)
def test_same_declarations(name: str) -> None:
    ours, theirs = from_lmp(name), load_python(str(EXAMPLES / f"{name}.py"))
    assert declared(ours) == declared(theirs)
    assert ours.entry == theirs.entry


@pytest.mark.parametrize("name", NAMES)
def test_the_python_twin_as_lmp(name: str) -> None:
    theirs = load_python(str(EXAMPLES / f"{name}.py"))
    assert compile_lmp(emit_lmp(theirs)).module == theirs.module
