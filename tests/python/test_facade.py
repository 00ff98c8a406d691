"""The facade: names, import time, what is not imported; examples; loading files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.frontend.lmp import compile_lmp
from lampc.frontend.python import load_python
from lampc.ir import CompileError, verify

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src", timeout=60
    )
    return done.stdout.strip()


def test_all_names_are_there() -> None:
    assert len(set(lampc.__all__)) == len(lampc.__all__)
    for name in lampc.__all__:
        assert getattr(lampc, name) is not None
    assert dir(lampc) == sorted(lampc.__all__)
    with pytest.raises(AttributeError, match="lampc has no `nothing`"):
        _ = lampc.nothing
    with pytest.raises(AttributeError, match=r"no `Assert`; `lampc\.Refine` and"):
        _ = lampc.Assert


def test_import_is_quick_and_light() -> None:
    loaded = "import sys, lampc; print([m for m in ('torch', 'lark', 'networkx', 'lampc.ir') if m in sys.modules])"
    assert python(loaded) == "[]"
    timed = "import time; t = time.perf_counter(); import lampc; print(time.perf_counter() - t)"
    assert min(float(python(timed)) for _ in range(3)) < 0.2


def test_declaring_and_tracing_needs_no_engine() -> None:
    code = (
        "import sys, lampc; lampc.trace(lampc.Predict('a -> b'));"
        "print([m for m in ('torch', 'networkx', 'transformers', 'lampc.backend', 'lampc.runtime') "
        "if m in sys.modules])"
    )
    assert python(code) == "[]"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_equal_their_twins(path: Path) -> None:
    made = load_python(str(path))
    twin = path.with_suffix(".lmp")
    wanted = compile_lmp(twin.read_text(encoding="utf-8"), str(twin))
    assert made.dynamic is None
    assert verify(made.module) == []
    assert str(made.module) == str(wanted.module)
    assert made.entry == wanted.entry
    for name in ("datasets", "metrics"):
        assert _without_places(getattr(made, name).values()) == _without_places(getattr(wanted, name).values())
    assert _without_places(made.optimizes) == _without_places(wanted.optimizes)
    for a, b in zip(made.tests, wanted.tests, strict=True):
        assert (a.name, a.mocks, a.program, a.arguments) == (b.name, b.mocks, b.program, b.arguments)


def _without_places(things: Any) -> list[str]:
    return [repr(t).split(", loc=")[0] for t in things]


def test_examples_are_all_there() -> None:
    assert [p.stem for p in EXAMPLES] == [p.stem for p in sorted((ROOT / "examples").glob("[0-9]*.lmp"))]
    assert len(EXAMPLES) == 7


def load(tmp_path: Path, text: str, name: str = "sample.py") -> Any:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load_python(str(path))


def test_loading_a_file(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def loud(text: str) -> str:\n    return text.upper()\n")
    text = """
import lampc
from beside import loud

ask = lampc.Predict("text -> label")
unused = lampc.retriever("unused", "x.jsonl")

@lampc.program
def other(text: str):
    return {"label": loud(text)}

@lampc.program
def main(text: str):
    return {"label": ask(text=loud(text)).label}

@lampc.metric
def judged(example, prediction, trace=None):
    return example.label == prediction.label
"""
    unit = load(tmp_path, text)
    assert unit.entry == "main"
    assert [op.symbol for op in unit.module.body.ops] == ["ask", "unused", "main"]
    assert unit.metrics["judged"].function == "sample:judged"
    assert unit.metrics["judged"].is_host


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("x = 1\n", "the file has no program", 1),
        ("x = 1\ny = 1 / 0\n", "the file raised ZeroDivisionError", 2),
        ("import sys\nsys.exit(3)\n", "the file raised SystemExit: 3", 2),
        ("def f(:\n", "the file raised SyntaxError", 1),
        (
            "import lampc\n@lampc.program\ndef f(a):\n    return a\n@lampc.program\ndef g(a):\n    return a\n",
            "several programs (f, g)",
            1,
        ),
        ("import lampc\n\nlampc.dataset('d', 'x.csv')\n", "split by a column", 3),
        ("import lampc\n\nlampc.dataset('d', 'x.txt', train=1)\n", "kind='csv'", 3),
        ("import lampc\n\nlampc.dataset('d', 'x.csv', columns='a: Foo', train=1)\n", "name 'Foo'", 3),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path: Path, text: str, message: str, line: int) -> None:
    with pytest.raises(CompileError) as caught:
        load(tmp_path, text, "broken.py")
    (found,) = caught.value.diagnostics
    assert found.code == "L0705"
    assert message in found.message
    assert found.primary is not None
    assert (Path(found.primary.span.path).name, found.primary.span.line) == ("broken.py", line)


def test_a_missing_file() -> None:
    with pytest.raises(CompileError, match="there is no file"):
        load_python("/nowhere/nothing.py")


def test_a_file_that_is_called_like_a_module(tmp_path: Path) -> None:
    text = "import lampc\n@lampc.program\ndef main(a: str):\n    return {'a': a}\n"
    import json

    assert load(tmp_path, text, "json.py").entry == "main"
    assert sys.modules["json"] is json
