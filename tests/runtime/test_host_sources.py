"""Editing what a metric calls makes a run a new run; touching nothing keeps it finished."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lampc.ir.hostvalues import HostClass
from lampc.runtime.host_sources import class_identity, host_identity, project_files

PROGRAM = '''
signature Ask(text: str) -> (label: str @max(2)) {
  """Say it."""
}
module Main(text: str) -> (label: str) {
  use ask = Predict(Ask);
  let r = ask(text: text);
  return (label: r.label);
}
'''
METRIC = """
from rules import equal

def score(example, prediction):
    return 1.0 if equal(str(prediction.label), str(example.label)) else 0.0
"""
RULES = """
from pack import inner

def equal(a, b):
    return inner.clean(a) == inner.clean(b)
"""
INNER = """
def clean(text):
    return text.strip()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.lmp").write_text(PROGRAM)
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"cat dog {i},cat\n" for i in range(6)))
    (tmp_path / "measure.py").write_text(METRIC)
    (tmp_path / "rules.py").write_text(RULES)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "inner.py").write_text(INNER)
    (tmp_path / "aside.py").write_text("x = 1")
    return tmp_path


def optimize(folder: Path) -> str:
    root = Path(__file__).resolve().parents[2]
    args = ["optimize", "p.lmp", "--data", "rows.csv", "--metric", "measure:score"]
    done = subprocess.run(
        [sys.executable, "-m", "lampc", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_an_edited_helper_is_a_new_run(folder: Path) -> None:
    finished = "finished before"
    assert finished not in optimize(folder)
    (folder / "aside.py").write_text("x = 2")  # nobody imports it
    assert finished in optimize(folder)
    inner = folder / "pack" / "inner.py"
    inner.write_text(INNER.replace("text.strip()", "text.strip().lower()"))
    assert finished not in optimize(folder)


def test_identity_follows_imports_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    measure = importlib.import_module("measure")
    importlib.import_module("aside")
    try:
        files = project_files("measure")
        assert [f.relative_to(folder).as_posix() for f in files] == [
            "measure.py", "pack/__init__.py", "pack/inner.py", "rules.py",
        ]  # fmt: skip
        before = host_identity(measure.score)
        assert host_identity(measure.score) == before
        (folder / "pack" / "inner.py").write_text("def clean(text: str) -> str:\n    return 'same'\n")
        assert host_identity(measure.score) != before
    finally:
        for name in ("measure", "rules", "pack", "pack.inner", "aside"):
            sys.modules.pop(name, None)


SHAPES = """
from dataclasses import dataclass
from typing import Annotated
from pydantic import AfterValidator, BaseModel, field_validator

MOST = 3

class Checked(BaseModel):
    @field_validator("*")
    def check(cls, value):
        return value

def odd(value):
    return value * 2 + 1

Odd = Annotated[int, AfterValidator(odd)]

class Größe(Checked):
    n: Odd = MOST
    tags: set[str] = {"a", "b", "c", "d", "e", "f"}

@dataclass
class Other:
    n: int = 1
"""
MAIN = """
import lampc
from shapes import Größe

class Ask(lampc.Signature):
    text: str = lampc.InputField()
    wish: Größe = lampc.OutputField()

ask = lampc.Predict(Ask)

@lampc.program
def main(text: str) -> Größe:
    return ask(text=text).wish
"""
LOOK = """
from main import main
from lampc.backend import FakeEngine
from lampc.frontend.python import trace
from lampc.runtime.cells import CellTable
from lampc.runtime.session import Session
from lampc.runtime.types import Cell, Row

unit = trace(main)
with Session(model=FakeEngine(lambda prompt: "")) as session:
    print(CellTable(session, unit, None).key(Cell(Row("0", {"text": "a"}))))
"""


def test_a_class_of_values_is_part_of_a_cell(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN, encoding="utf-8")
    (tmp_path / "look.py").write_text(LOOK)

    def identity(shapes: str, seed: int = 1) -> str:
        (tmp_path / "shapes.py").write_text(shapes, encoding="utf-8")
        kept = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": str(seed)}
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **kept}
        done = subprocess.run([sys.executable, "look.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = identity(SHAPES)
    assert identity(SHAPES, seed=2) == before, "sets are in another order in each process"
    assert identity(SHAPES.replace("n: int = 1", "n: int = 2") + "# a note") == before, "no value is of that class"
    assert identity(SHAPES.replace("MOST = 3", "MOST = 4")) != before
    assert identity(SHAPES.replace("return value", "return value + 1")) != before
    assert identity(SHAPES.replace("value * 2 + 1", "value * 2 - 1")) != before


def test_a_class_whose_file_was_broken_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "edited_shapes.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass\nclass Wish:\n    n: int\n"
    )
    wish = importlib.import_module("edited_shapes").Wish
    try:
        host = HostClass(wish, wish, str)
        before = class_identity(host)
        (tmp_path / "edited_shapes.py").write_text("class Wish(\n")
        assert class_identity(host) != before
    finally:
        sys.modules.pop("edited_shapes")


def test_installed_modules_are_not_part_of_it() -> None:
    assert project_files("json") == []
    assert project_files("pytest") == []
