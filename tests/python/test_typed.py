"""Type checkers know what a signature in class form answers: mypy and pyright, run on a small program, the
examples and the programs in DSPy's style."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)  # without a cache mypy reads the whole package
ROOT = Path(__file__).resolve().parents[2]
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
LINES = PROGRAM.strip().splitlines()
MISTAKES = {
    "prediction.anwser": '"QA" has no attribute "anwser"',
    "lampc.ChainOfThought(QA)(question='x').anwser": '"QA" has no attribute "anwser"',
    "wrong: int = prediction.answer": 'expression has type "str", variable has type "int"',
}


LOOSE = """[mypy]
strict = true
allow_redefinition = true
[mypy-{}]
check_untyped_defs = true
disallow_untyped_defs = false
disallow_incomplete_defs = false
disallow_untyped_calls = false
disallow_any_generics = false
disable_error_code = var-annotated
"""
"""The examples as strictly as a user may ask for, programs in DSPy's style as they are: without annotations."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program and its mistakes (`typed.py`), the examples, and the programs in DSPy's style."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "typed.py").write_text("\n".join([*LINES, *MISTAKES]) + "\n", encoding="utf-8")
    for path in (ROOT / "examples").glob("*.py"):
        shutil.copy(path, folder)
    dspy_programs = list((ROOT / "tests" / "dspy_programs").glob("*.py"))
    for path in dspy_programs:
        text = path.read_text(encoding="utf-8").replace("\nimport dspy\n", "\nimport lampc as dspy\n")
        (folder / path.name).write_text(text, encoding="utf-8")
    (folder / "mypy.ini").write_text(LOOSE.format(",".join(p.stem for p in dspy_programs)), encoding="utf-8")
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT / "src")], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    assert len(list(folder.glob("*.py"))) > 30
    return folder


def run(folder: Path, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=800)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def found(programs: Path) -> list[str]:
    """What mypy says, a line each."""
    return run(
        programs, "mypy", "--follow-imports=silent", "--no-error-summary", "--config-file=mypy.ini",
        f"--cache-dir={ROOT / '.mypy_cache' / 'typed'}", ".", MYPYPATH=str(ROOT / "src"), PATH="",
    ).splitlines()  # fmt: skip


def test_typed_programs_and_examples_have_no_errors(found: list[str]) -> None:
    mistaken = re.compile(r"typed\.py:(\d+):")
    assert [s for s in found if not (m := mistaken.match(s)) or int(m[1]) <= len(LINES)] == []


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=list(MISTAKES))
def test_mistakes_are_type_errors(found: list[str], number: int) -> None:
    (said,) = [line for line in found if line.startswith(f"typed.py:{len(LINES) + 1 + number}:")]
    assert list(MISTAKES.values())[number] in said


def test_pyright_says_the_same(programs: Path) -> None:
    """basedpyright is pyright with its Node in a package; pyright's own package fetches one when it first runs."""
    said = json.loads(run(programs, "basedpyright", "--outputjson", "--pythonpath", sys.executable, HOME=str(programs)))
    errors = [d for d in said["generalDiagnostics"] if d["severity"] == "error"]
    assert said["summary"]["filesAnalyzed"] > 30
    assert [(Path(d["file"]).name, d["range"]["start"]["line"]) for d in errors] == [
        ("typed.py", len(LINES) + i) for i in range(len(MISTAKES))
    ]
