"""Type checkers know what a signature in class form answers: mypy, and pyright where it is, run on a small program."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYRIGHT = shutil.which("pyright") or shutil.which("basedpyright")
PROGRAM = '''
import lampc


class QA(lampc.Signature):
    """Answer the question."""

    question: str = lampc.InputField()
    answer: str = lampc.OutputField()
    score: int = lampc.OutputField(ge=0)
    items: list[str] = lampc.OutputField()


qa = lampc.Predict(QA)
prediction = qa(question="...")
number: int = prediction.score + 1
text: str = lampc.ChainOfThought(QA)(question="...").answer.strip()
first: lampc.Prediction = prediction.completions[0]
item: str = prediction.items[0]
free: str = lampc.Predict("question -> answer")(question="...").anything
edited = QA.with_instructions("Else.").append("more", lampc.OutputField(), int)
again = lampc.Predict(edited)(question="...").more
made = lampc.Predict(lampc.Signature("question -> answer", "Do it."))(question="...").answer


async def later() -> int:
    return (await qa.acall(question="...")).score


class Program(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qa = lampc.ChainOfThought(QA)

    def forward(self, question: str) -> str:
        return self.qa(question=question).answer
'''
MISTAKES = {
    "prediction.anwser": '"QA" has no attribute "anwser"',
    "lampc.ChainOfThought(QA)(question='x').anwser": '"QA" has no attribute "anwser"',
    "wrong: int = prediction.answer": 'expression has type "str", variable has type "int"',
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of the program with its mistakes, a line each."""
    folder = tmp_path_factory.mktemp("typed")
    lines = PROGRAM.strip().splitlines()
    (folder / "program.py").write_text("\n".join([*lines, *MISTAKES]) + "\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary", "--config-file=",
        f"--cache-dir={ROOT / '.mypy_cache' / 'typed'}", "program.py",
    ]  # fmt: skip
    environment = {"MYPYPATH": str(ROOT / "src"), "PATH": ""}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert run.stderr == ""
    return run.stdout.splitlines()


def test_a_typed_program_has_no_errors(found: list[str]) -> None:
    length = len(PROGRAM.strip().splitlines())
    assert [line for line in found if int(line.split(":")[1]) <= length] == []


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=list(MISTAKES))
def test_mistakes_are_type_errors(found: list[str], number: int) -> None:
    length = len(PROGRAM.strip().splitlines())
    (said,) = [line for line in found if line.startswith(f"program.py:{length + 1 + number}:")]
    assert list(MISTAKES.values())[number] in said


@pytest.mark.skipif(PYRIGHT is None, reason="neither pyright nor basedpyright is installed")
def test_pyright_says_the_same(tmp_path: Path) -> None:
    lines = PROGRAM.strip().splitlines()
    (tmp_path / "program.py").write_text("\n".join([*lines, *MISTAKES]) + "\n", encoding="utf-8")
    config = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT / "src")], "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable, "program.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    said = [
        d["range"]["start"]["line"] for d in json.loads(run.stdout)["generalDiagnostics"] if d["severity"] == "error"
    ]
    assert said == [len(lines) + i for i in range(len(MISTAKES))]
