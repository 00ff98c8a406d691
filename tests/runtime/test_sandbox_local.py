"""`LocalInterpreter`: all of Python in a process of its own, which is held to limits but is no sandbox."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.frontend.python.tools.interpreter import (
    CodeExecutionError,
    CodeInterpreter,
    CodeInterpreterError,
    FinalOutput,
)
from lampc.runtime.sandbox.limits import SandboxLimits
from lampc.runtime.sandbox.local import LocalInterpreter
from tests.python.twins import in_turn, ours

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.name != "posix", reason="waits for pipes, which other systems cannot"),
]


def double(x: Any) -> Any:
    if x == "bad":
        raise KeyError("no")
    return x * 2


def test_what_code_gives_keeps_and_calls() -> None:
    fields = [{"name": "answer"}, {"name": "why"}]
    with LocalInterpreter(tools={"double": double}, output_fields=fields) as box:
        assert isinstance(box, CodeInterpreter)
        assert box("1 + 1") == 2
        assert box("print('a')\nx = n + 1", {"n": 2}) == "a\n"
        assert box("class Odd(Exception): pass\ndef g():\n    yield x\n    yield double(x)\nlist(g())") == [3, 6]
        assert box("import statistics\nstatistics.mean([1, 2, 6])") == 3
        assert box("{1: {2, 1}, 'k': (1, None)}") == {"1": [1, 2], "k": [1, None]}
        assert box("object()").startswith("<object object")
        assert box("try:\n    SUBMIT(3, why='w')\nexcept Exception:\n    pass") == FinalOutput(
            {"answer": 3, "why": "w"}
        )
        for code, said in {
            "double('bad')": "RuntimeError: KeyError: 'no'",
            "1 / 0": r"ZeroDivisionError: division by zero \(line 1\)",
            "y = 1\nnope": r"NameError: name 'nope' is not defined \(line 2\)",
            "SUBMIT(1)": r"TypeError: SUBMIT\(answer, why\): missing",
            "print('x' * 10_000_000)": "MemoryError: the code printed more than it may",
            "'x' * 2_000_000": "the result is longer than",
            "x = bytearray(4 << 30)": "MemoryError",
            "import sys\nsys.exit(3)": "SystemExit: 3",
        }.items():
            with pytest.raises(CodeExecutionError, match=said):
                box(code)
        with pytest.raises(SyntaxError, match=r"Invalid Python syntax\. message: .*\(line 2\)"):
            box("z = 1\na b")
        assert box("x, y") == [3, 1], "the session lives on"
    with pytest.raises(CodeInterpreterError, match="was shut down"):
        box("1")


def test_time_and_the_end_of_the_process_are_told_and_a_new_one_begins() -> None:
    with LocalInterpreter(execution_timeout=0.5) as box:
        box("kept = 1")
        began = time.monotonic()
        with pytest.raises(CodeExecutionError, match=r"took more than 0.5 s; all names of earlier code are gone"):
            box("while True:\n    pass")
        assert time.monotonic() - began < 5
        with pytest.raises(CodeExecutionError, match="name 'kept' is not defined"):
            box("kept")
        with pytest.raises(CodeExecutionError, match="the process ended; all names"):
            box("import os\nos._exit(1)")
        forged = "import os, contextlib\nfor fd in range(3, 20):\n    with contextlib.suppress(OSError):\n        "
        with pytest.raises(CodeExecutionError, match="the process sent no message"):
            box(forged + "os.write(fd, b'[1]\\n')")
        assert box("2 + 2") == 4


def test_it_cannot_write_files_and_sees_no_environment(tmp_path: Path) -> None:
    os.environ["LAMPC_TEST_SECRET"] = "hidden"
    target = tmp_path / "written"
    with LocalInterpreter() as box:
        assert box("import os\n'LAMPC_TEST_SECRET' in os.environ") is False
        with pytest.raises(CodeExecutionError, match="OSError"):
            box(f"with open({str(target)!r}, 'w') as f:\n    f.write('x')")
        pid = box("os.getpid()")
        assert pid != os.getpid()
    del os.environ["LAMPC_TEST_SECRET"]
    if sys.platform.startswith("linux"):
        assert not Path(f"/proc/{pid}").exists()


def test_a_module_with_all_of_python() -> None:
    code = "```python\nfrom enum import Enum\nclass E(Enum):\n    A = 5\nSUBMIT(E.A.value)\n```"
    with ours(in_turn({"reasoning": "r", "generated_code": code}, {"reasoning": "r", "answer": "5"})) as side:
        made = side.d.ProgramOfThought("q -> answer", interpreter_factory=lampc.LocalInterpreter)(q="x")
    assert made.answer == "5"
    assert '{"output": 5}' in side.prompts[1][-1]["content"]


def test_calls_are_bounded() -> None:
    with LocalInterpreter(tools={"double": double}, limits=SandboxLimits(calls=10)) as box:
        with pytest.raises(CodeExecutionError, match="more than 10 calls"):
            box("while True:\n    double(1)")
        assert box("double(2)") == 4


def test_the_same_every_time() -> None:
    def drawn() -> Any:
        with LocalInterpreter() as box:
            return box("import random\n[random.random(), hash('a'), list({'a', 'b', 'c'})]")

    assert drawn() == drawn()


def test_both_interpreters_at_once() -> None:
    with LocalInterpreter() as local, lampc.PythonInterpreter() as sandbox:
        assert local("import sys\nsys.implementation.name") == "cpython"
        assert sandbox("1 + 1") == 2
