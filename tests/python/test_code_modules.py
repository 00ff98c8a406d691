"""`ProgramOfThought` and `CodeAct` beside DSPy's own, with one interpreter and one scripted model; and in the real
sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import lampc
from lampc.ir.errors import ContextWindowExceededError
from lampc.runtime.sandbox.monty import PythonInterpreter
from tests.python.twins import Side, both, in_turn, ours
from tests.runtime.test_sandbox_escape import interpreters

pytest.importorskip("pydantic_monty")
pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")]


class Plain:
    """An interpreter for trusted code alone: it runs in this process. Both libraries take it."""

    made: list[Plain] = []  # noqa: RUF012 - of the test that runs

    def __init__(self) -> None:
        self.tools: dict[str, Callable[..., Any]] = {}
        self.names: dict[str, Any] = {}
        self.output_fields: Any = None
        self.open = True
        Plain.made.append(self)

    def start(self) -> None:
        pass

    def shutdown(self) -> None:
        self.open = False

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        errors, final = _twins()
        said = io.StringIO()
        submitted: list[Any] = []

        names = [f["name"] for f in self.output_fields or [{"name": "output"}]]

        def submit(*args: Any, **kwargs: Any) -> None:
            submitted.append({**dict(zip(names, args, strict=False)), **kwargs})
            raise SystemExit

        self.names.update({**self.tools, **(variables or {}), "SUBMIT": submit})
        try:
            with contextlib.redirect_stdout(said):
                compiled = compile(code, "<code>", "exec")
                exec(compiled, self.names)
        except SyntaxError:
            raise
        except SystemExit:
            return final(submitted[0])
        except Exception as e:
            raise errors(f"{type(e).__name__}: {e}") from None
        return said.getvalue()


_side: list[Any] = [lampc]


def _twins() -> tuple[Any, Any]:
    return _side[0].CodeExecutionError, _side[0].FinalOutput


def compared(program: Callable[[Any], Any], *answers: Any) -> tuple[Any, Any]:
    """What DSPy gave and sent, and what we did."""

    def run(d: Any) -> Any:
        _side[0] = d
        Plain.made.clear()
        try:
            value = program(d)
        except Exception as e:
            value = type(e).__name__, str(e)
        return value, [i.open for i in Plain.made]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return both(run, lambda: in_turn(*answers))


def code(text: str, **more: Any) -> dict[str, Any]:
    return {"reasoning": "think", "generated_code": f"```python\n{text}\n```", **more}


THOUGHT: dict[str, list[Any]] = {
    "submitted": [code("x = 2\nSUBMIT({'answer': x})"), {"reasoning": "r", "answer": "2"}],
    "printed": [code("print('two')"), {"reasoning": "r", "answer": "2"}],
    "no fence": [{"reasoning": "t", "generated_code": "print(1)"}, {"reasoning": "r", "answer": "1"}],
    "unclosed": [
        {"reasoning": "t", "generated_code": "```python\nprint(1)\nprint(2) ``"},
        {"reasoning": "r", "answer": "1"},
    ],
    "after the code": [
        {"reasoning": "t", "generated_code": "```python\nprint(1)\n```\n---\nprint(2)"},
        {"reasoning": "r", "answer": "1"},
    ],
    "an error, then right": [
        code("print(nope)"),
        code("a b"),
        code("SUBMIT([1, {'k': None}])"),
        {"reasoning": "r", "answer": "[1]"},
    ],
    "no code": [
        {"reasoning": "t", "generated_code": ""},
        {"reasoning": "t", "generated_code": "a = b = 3"},
        code("print('umlaut ü')"),
        {"reasoning": "r", "answer": "x"},
    ],
    "never right": [code("1 / 0"), code("nope"), code("[][1]")],
    "an assignment at the end": [code("x = 3\ny = x + 1"), {"reasoning": "r", "answer": "4"}],
}


@pytest.mark.parametrize("case", THOUGHT)
def test_program_of_thought_is_dspys(case: str) -> None:
    def program(d: Any) -> Any:
        made = d.ProgramOfThought("question -> answer", interpreter_factory=Plain)
        names = [n for n, _ in made.named_predictors()]
        return names, made(question="What is 1 + 1?").toDict()

    theirs, mine = compared(program, *THOUGHT[case])
    assert mine == theirs
    assert theirs[0][1] == [False], "the interpreter was shut down"


def test_program_of_thought_with_types_and_instructions_is_dspys() -> None:
    def program(d: Any) -> Any:
        signature = d.Signature("numbers: list[int], name -> total: int, note: bool", "Sum up.\n\nWith care.")
        return d.ProgramOfThought(signature, 2, Plain)(numbers=[1, 2], name="n").toDict()

    theirs, mine = compared(program, code("print(3)"), {"reasoning": "r", "total": 3, "note": True})
    assert mine == theirs


ACT: dict[str, list[Any]] = {
    "one round": [code("print(double(3))", finished=True), {"reasoning": "r", "answer": "6"}],
    "three rounds": [
        code("print(double(1))", finished=False),
        code("print(nope)", finished=False),
        {"generated_code": "a = b = 1", "finished": False},
        code("print('ü')", finished=True),
        {"reasoning": "r", "answer": "6"},
    ],
    "rounds run out": [code(f"print({i})", finished=False) for i in range(3)] + [{"reasoning": "r", "answer": "6"}],
}


def double(n: int) -> int:
    """Doubles."""
    return n * 2


@pytest.mark.parametrize("case", ACT)
def test_code_act_is_dspys(case: str) -> None:
    def program(d: Any) -> Any:
        signature = d.Signature("question, k: int -> answer: int", "Find out.")
        made = d.CodeAct(signature, tools=[double], max_iters=3, interpreter_factory=Plain)
        names = [n for n, _ in made.named_predictors()]
        return names, made(question="q", k=1, max_iters=4 if case == "three rounds" else 3).toDict()

    theirs, mine = compared(program, *ACT[case])
    assert mine == theirs


def test_an_interpreter_of_the_callers_stays_open_and_misuse_is_refused_as_by_dspy() -> None:
    def program(d: Any) -> Any:
        own = Plain()
        made = d.ProgramOfThought("question -> answer", interpreter_factory=Plain)
        out = [made(own, question="q").toDict(), own.open]
        for wrong in (
            lambda: made(question="q", interpreter=own),
            lambda: made(3, question="q"),
            lambda: d.ProgramOfThought("q -> a", interpreter_factory=own),
            lambda: d.CodeAct("q -> a", [], interpreter_factory=3),
        ):
            try:
                wrong()
            except TypeError:
                out.append("TypeError")
        return out

    theirs, mine = compared(program, code("print(1)"), {"reasoning": "r", "answer": "1"})
    assert mine == theirs
    assert theirs[0][0][1:] == [True] + ["TypeError"] * 4


# -- in the sandbox --------------------------------------------------------------------------------------------


@pytest.fixture
def scripted() -> Callable[..., contextlib.AbstractContextManager[Side]]:
    return lambda *answers: ours(in_turn(*answers))


def test_program_of_thought_in_the_sandbox(scripted: Any) -> None:
    with scripted(
        code("import math\nfor i in range(3):\n    1 / (2 - i)"),
        code("open('/etc/passwd').read()"),
        code("def fact(n):\n    return 1 if n < 2 else n * fact(n - 1)\nSUBMIT({'answer': fact(20)})"),
        {"reasoning": "r", "answer": 2432902008176640000},
    ) as side:
        made = side.d.ProgramOfThought("question -> answer: int")(question="20!")
    assert made.answer == 2432902008176640000
    told = [p[-1]["content"] for p in side.prompts]
    assert "ZeroDivisionError: division by zero (line 3)" in told[1]
    assert "PermissionError: Permission denied: '/etc/passwd'" in told[2]
    assert '{"output": {"answer": 2432902008176640000}}' in told[3]


def test_code_act_in_the_sandbox_calls_tools_through_the_bridge(scripted: Any) -> None:
    places = {"ulm": 3}

    def look_up(city: str) -> int:
        """Looks up."""
        return places[city]

    answers = [
        code("a = look_up('ulm')\nprint(a)", finished=False),
        code("print(look_up('rome'))", finished=False),
        code("print(a + 1)", finished=True),
        {"reasoning": "r", "answer": "4"},
    ]
    with scripted(*answers) as side:
        made = side.d.CodeAct("question -> answer", tools=[look_up])(question="q")
    assert made.answer == "4"
    assert made.trajectory["code_output_0"] == '"3\\n"'
    assert made.trajectory["observation_1"] == (
        "Failed to execute the generated code: RuntimeError: KeyError: 'rome' (line 1)"
    )
    assert made.trajectory["code_output_2"] == '"4\\n"'


def test_a_trajectory_that_does_not_fit_is_shortened() -> None:
    tried: list[int] = []

    def answer(messages: list[dict[str, str]]) -> Any:
        if "generated_code" in messages[-1]["content"].split("Respond with")[1]:
            return code("print('a' * 10)", finished=len(tried) > 5)
        tried.append(len(messages[-1]["content"]))
        return {"reasoning": "r", "answer": "ok"}

    class Small(lampc.CodeAct):
        def trajectory_text(self, trajectory: Any) -> str:
            if len(trajectory) > 6:
                raise ContextWindowExceededError("too long")
            return super().trajectory_text(trajectory)

    with ours(answer):
        made = Small("q -> answer", tools=[], max_iters=4)(q="q")
    assert made.answer == "ok"
    assert len(made.trajectory) == 4


def test_rows_run_together_each_in_its_own_sandbox() -> None:
    def answer(messages: list[dict[str, str]]) -> Any:
        said = messages[-1]["content"]
        n = int(said.split("[[ ## n ## ]]\n")[1].split("\n")[0])
        if "code_output" in said:
            return {"reasoning": "r", "square": n * n}
        return code(f"secret = {n}\nSUBMIT(secret * secret)")

    with ours(answer):
        program = lampc.ProgramOfThought("n: int -> square: int")
        rows = program.batch([lampc.Example(n=n).with_inputs("n") for n in range(8)])
    assert [r.square for r in rows] == [n * n for n in range(8)]


def test_the_setting_says_which_interpreter() -> None:
    made: list[Any] = []

    def factory() -> PythonInterpreter:
        made.append(PythonInterpreter())
        return made[-1]

    with (
        ours(in_turn(code("SUBMIT(1)"), {"reasoning": "r", "answer": "1"})),
        lampc.settings.context(interpreter_factory=factory),
    ):
        lampc.ProgramOfThought("q -> answer")(q="q")
    assert len(made) == 1


def test_code_that_takes_long_holds_up_neither_other_rows_nor_an_event_loop() -> None:
    quick = lampc.SandboxLimits(seconds=0.7)

    def answer(messages: list[dict[str, str]]) -> Any:
        said = messages[-1]["content"]
        if "code_output" in said:
            return {"reasoning": "r", "answer": "late"}
        return code("SUBMIT('late')" if "previous_code" in said else "while True:\n    pass")

    with ours(answer):
        program = lampc.ProgramOfThought("q -> answer", interpreter_factory=lambda: PythonInterpreter(limits=quick))
        began = time.monotonic()
        rows = program.batch([lampc.Example(q=str(i)).with_inputs("q") for i in range(8)])
        assert [r.answer for r in rows] == ["late"] * 8
        assert time.monotonic() - began < 4, "eight times 0.7 s one after another"

        async def main() -> int:
            ticks = 0
            task = asyncio.create_task(program.acall(q="x"))
            while not task.done():
                await asyncio.sleep(0.02)
                ticks += 1
            assert (await task).answer == "late"
            return ticks

        assert asyncio.run(main()) > 10


def test_a_row_that_is_ended_while_its_code_runs_leaves_no_process() -> None:
    before = interpreters()

    def answer(messages: list[dict[str, str]]) -> Any:
        return code("while True:\n    pass")

    async def main() -> None:
        task = asyncio.create_task(lampc.ProgramOfThought("q -> answer", 1, quick).acall(q="x"))
        await asyncio.sleep(0.4)
        assert interpreters() - before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    def quick() -> PythonInterpreter:
        return PythonInterpreter(limits=lampc.SandboxLimits(seconds=1))

    with ours(answer):
        asyncio.run(main())
    until = time.monotonic() + 5
    while interpreters() - before and time.monotonic() < until:
        time.sleep(0.05)
    assert not interpreters() - before
