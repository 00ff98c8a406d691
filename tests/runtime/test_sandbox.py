"""`PythonInterpreter`: what code in it gives, keeps, may call, and how its failures are told."""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pydantic
import pytest

import lampc
import lampc.runtime.hosts  # what runs programs provides the sandbox
from lampc.frontend.python.tools.interpreter import (
    CodeExecutionError,
    CodeInterpreter,
    CodeInterpreterError,
    FinalOutput,
    check_factory,
    interpreter_factory,
    made_interpreter,
)
from lampc.ir.settings import settings
from lampc.runtime.sandbox.limits import SandboxLimits
from lampc.runtime.sandbox.monty import PythonInterpreter

pytest.importorskip("pydantic_monty")
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def sandbox() -> Iterator[PythonInterpreter]:
    with PythonInterpreter(limits=SandboxLimits(seconds=5)) as made:
        yield made


def test_what_code_gives(sandbox: PythonInterpreter) -> None:
    assert sandbox("1 + 1") == 2
    assert sandbox("print('a')\nprint('b')") == "a\nb\n"
    assert sandbox("print('a')\n3") == 3
    assert sandbox("x = 3") == ""
    assert sandbox("x * 2") == 6
    assert sandbox("(1, {'k': {2, 1}}, None, 1.5, b'x')") == [1, {"k": [1, 2]}, None, 1.5, "b'x'"]
    assert sandbox("def f(n):\n    return n + x\n[f(i) for i in range(3)]") == [3, 4, 5]
    assert isinstance(sandbox, CodeInterpreter)


def test_what_is_submitted() -> None:
    with PythonInterpreter() as one:
        assert one("SUBMIT(4)") == FinalOutput({"output": 4})
        assert one("try:\n    SUBMIT([1])\nexcept Exception:\n    pass\nnever = 1") == FinalOutput({"output": [1]})
        assert one("[1]") == [1]
        with pytest.raises(CodeExecutionError, match="name 'never' is not defined"):
            one("never")
    fields = [{"name": "answer", "type": "str"}, {"name": "score"}]
    with PythonInterpreter(output_fields=fields) as two:
        assert two("SUBMIT('a', score=(1, 2))") == FinalOutput({"answer": "a", "score": [1, 2]})
        with pytest.raises(CodeExecutionError, match=r"TypeError: SUBMIT\(answer, score\): missing .*'score'"):
            two("SUBMIT('a')")
        assert two("def done():\n    SUBMIT(answer='b', score=2)\ndone()\n1") == FinalOutput(
            {"answer": "b", "score": 2}
        )
    assert repr(FinalOutput(1)) == "FinalOutput(1)"


class Tone(enum.Enum):
    GOOD = "good"


class Place(pydantic.BaseModel):
    city: str
    since: date


@dataclass
class Pair:
    left: int
    right: Place


def test_variables_are_what_json_makes_of_them(sandbox: PythonInterpreter) -> None:
    place = Place(city="Ulm", since=date(854, 7, 22))
    given = {
        "text": "a'\"\n\\",
        "tone": Tone.GOOD,
        "pair": Pair(1, place),
        "seen": {3, 1},
        "row": lampc.Example(a=1),
        "pair2": (1, (2,)),
        "big": 10**30,
        "odd": math.inf,
        "day": date(2020, 1, 2),
    }
    plain = {
        "text": "a'\"\n\\",
        "tone": "good",
        "pair": {"left": 1, "right": {"city": "Ulm", "since": "0854-07-22"}},
        "seen": [1, 3],
        "row": {"a": 1},
        "pair2": [1, [2]],
        "big": 10**30,
        "odd": math.inf,
        "day": "2020-01-02",
    }
    for name, value in given.items():
        assert sandbox(name, {name: value}) == plain[name], name
    assert sandbox("text + text") == plain["text"] * 2  # type: ignore[operator]
    for name in ("SUBMIT", "class", "a b"):
        with pytest.raises(CodeInterpreterError, match="Invalid variable name"):
            sandbox("1", {name: 1})
    with pytest.raises(CodeInterpreterError, match="Unsupported value type: object"):
        sandbox("1", {"x": object()})


def test_failures_of_code_are_told_and_leave_the_session_as_it_was(sandbox: PythonInterpreter) -> None:
    sandbox("x = 1")
    for code, said in {
        "1 / 0": r"ZeroDivisionError: division by zero \(line 1\)",
        "y = 2\nnope": r"NameError: name 'nope' is not defined \(line 2\)",
        "raise ValueError('no')": r"ValueError: no",
        "assert x == 2, 'x is wrong'": r"AssertionError: x is wrong",
        "import numpy": r"ModuleNotFoundError: No module named 'numpy'",
    }.items():
        with pytest.raises(CodeExecutionError, match=said):
            sandbox(code)
    with pytest.raises(SyntaxError, match=r"Invalid Python syntax\. message: .*\(line 2\)"):
        sandbox("z = 3\na b")
    assert sandbox("x") == 1
    assert sandbox("y") == 2


def test_tools_are_called_through_the_bridge() -> None:
    calls: list[Any] = []

    def look(query: str, k: int = 1) -> list[Place]:
        calls.append((query, k))
        return [Place(city=query, since=date(2000, 1, 1))] * k

    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    def broken() -> None:
        raise KeyError("lost")

    def again() -> Any:
        return box("1")

    box = PythonInterpreter(tools={"look": look, "later": later, "broken": broken, "again": again})
    with box:
        assert box("look('a')") == [{"city": "a", "since": "2000-01-01"}]
        assert box("[p['city'] for p in look(query='b', k=2)]") == ["b", "b"]
        assert box("later(1) + later(x=2)") == 5
        assert box("find = look\nfind('c')[0]['city']") == "c"
        assert calls == [("a", 1), ("b", 2), ("c", 1)]
        with pytest.raises(CodeExecutionError, match=r"RuntimeError: KeyError: 'lost' \(line 1\)"):
            box("broken()")
        assert box("try:\n    broken()\nexcept RuntimeError as e:\n    r = str(e)\nr") == "KeyError: 'lost'"
        with pytest.raises(CodeExecutionError, match="RuntimeError: TypeError"):
            box("look()")
        with pytest.raises(CodeExecutionError, match="cannot be used by a tool that its own code called"):
            box("again()")
        with pytest.raises(CodeInterpreterError, match="Invalid variable name: 'look'"):
            box("1", {"look": 1})
        box.tools["more"] = lambda x: {"got": x}
        assert box("more((1, {2}))") == {"got": [1, [2]]}
        tool = lampc.Tool(look)
        box.tools["typed"] = tool
        with pytest.raises(CodeExecutionError, match="Arg k is invalid: 'x' is not of type 'integer'"):
            box("typed('a', k='x')")


def test_a_tools_interrupt_ends_the_session() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    box = PythonInterpreter(tools={"stop": stop})
    with pytest.raises(KeyboardInterrupt):
        box("stop()")
    with pytest.raises(CodeInterpreterError, match="was shut down"):
        box("1")


def test_an_interpreter_ends() -> None:
    box = PythonInterpreter()
    box.start()
    box.start()
    assert box("1") == 1
    box.shutdown()
    box.shutdown()
    for use in (box.start, lambda: box("1")):
        with pytest.raises(CodeInterpreterError, match="was shut down; make a new one"):
            use()


def test_random_numbers_follow_the_seed() -> None:
    def drawn(seed: int) -> Any:
        with PythonInterpreter(seed=seed) as box:
            return box("import random\n[random.random() for _ in range(3)], random.Random().random()")

    assert drawn(1) == drawn(1) != drawn(2)


def test_which_interpreter_a_module_gets() -> None:
    class Other(PythonInterpreter):
        pass

    assert interpreter_factory(None) is PythonInterpreter
    assert interpreter_factory(Other) is Other
    with settings.context(interpreter_factory=Other):
        assert interpreter_factory(None) is Other
        assert interpreter_factory(PythonInterpreter) is Other
    with (
        settings.context(interpreter_factory=3),
        pytest.raises(TypeError, match="the setting interpreter_factory is called"),
    ):
        interpreter_factory(None)
    with pytest.raises(TypeError, match="is an interpreter, not what makes one"):
        check_factory(Other())
    with pytest.raises(TypeError, match="must return a CodeInterpreter, not int"):
        made_interpreter(lambda: 3)  # type: ignore[arg-type, return-value]


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match="a sandbox's limit `memory` must be positive, not 0"):
        SandboxLimits(memory=0)


def test_callbacks_are_told_of_start_code_tools_and_end() -> None:
    seen: list[Any] = []

    class Listener:
        def __getattr__(self, name: str) -> Any:
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda call_id, **more: seen.append((name, more.get("inputs"), more.get("outputs")))

    with PythonInterpreter(tools={"double": lambda x: 2 * x}, callbacks=[Listener()]) as box:
        box("double(2) + y", {"y": 1})
    assert [(n.removeprefix("on_interpreter_"), i, o) for n, i, o in seen] == [
        ("startup_start", {}, None),
        ("startup_end", None, None),
        ("execute_start", {"code": "double(2) + y", "variables": {"y": 1}}, None),
        ("tool_call_start", {"tool_name": "double", "args": [2], "kwargs": {}}, None),
        ("tool_call_end", None, 4),
        ("execute_end", None, 5),
        ("shutdown_start", {}, None),
        ("shutdown_end", None, None),
    ]


def test_a_large_state_is_not_kept_for_after_a_broken_limit_and_that_is_said() -> None:
    with PythonInterpreter(limits=SandboxLimits(seconds=0.3)) as box:
        assert box("kept = len(text)", {"text": "x" * 5_000_000}) == ""
        with pytest.raises(CodeExecutionError, match=r"more than 0.3 s; all names of earlier code are gone"):
            box("while True:\n    pass")
        with pytest.raises(CodeExecutionError, match="name 'kept' is not defined"):
            box("kept")
        assert box("len(text)", {"text": "y"}) == 1


def test_code_that_goes_on_after_submitting_is_still_bounded() -> None:
    with PythonInterpreter(limits=SandboxLimits(seconds=0.3)) as box:
        box("kept = 1")
        code = "try:\n    SUBMIT(3)\nexcept BaseException:\n    pass\nlost = 1\nwhile True:\n    pass"
        assert box(code) == FinalOutput({"output": 3})
        assert box("kept") == 1
        with pytest.raises(CodeExecutionError, match="name 'lost' is not defined"):
            box("lost")
