"""`RLM` beside DSPy's own, with one interpreter and one scripted model; and in the real sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import pydantic
import pytest
from dspy.predict.rlm import _strip_code_fences
from dspy.primitives import repl_types

import lampc
from lampc.frontend.python.modules import code_repl, code_text
from lampc.runtime.scripted import DummyLM
from tests.python.test_code_modules import Plain, compared
from tests.python.twins import in_turn, ours

pytest.importorskip("pydantic_monty")
pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:.*experimental.*")]


def step(code: str, reasoning: str = "think") -> dict[str, Any]:
    return {"reasoning": reasoning, "code": code}


def look(key: str, k: int = 1) -> str:
    """Looks up."""
    return f"{key} {k}"


class Place(pydantic.BaseModel):
    city: str
    zip: int = 0


OUT = {"answer": 3, "tone": "good", "place": {"city": "Ulm", "zip": 1}, "tags": ["a"], "why": "w"}
RUNS: dict[str, list[Any]] = {
    "submitted": [
        step("print(len(context), query)"),
        step("SUBMIT(answer=3, tone='good', place={'city': 'Ulm', 'zip': '1'}, tags=['a'], why='w')"),
    ],
    "by position": [step("SUBMIT('3', 'bad', {'city': 'Ulm'}, [], 4)")],
    "in fences": [
        step("Here:\n```python\nprint(look(key='a'))\n```\nand"),
        step("```\n```py\nprint(look(key='b', k=2))\n```\n```"),
        step("```sql\nSELECT 1\n```"),
        step("``` "),
        step("print(same(x=1))"),
        OUT,
    ],
    "failures": [
        step("print(nope)", ""),
        step("a b"),
        step("x = 1"),
        step("SUBMIT(answer=1)"),
        step("raise ValueError(look(key='z'))"),
        OUT,
    ],
    "long output": [step("print('0123456789' * 2000)"), *[step(f"print('ü' * {i})") for i in range(4)], OUT],
    "rounds run out": [step(f"print({i})") for i in range(5)] + [OUT],
}


@pytest.mark.parametrize("case", RUNS)
def test_runs_are_dspys_but_for_the_instruction(case: str) -> None:
    def program(d: Any) -> Any:
        fields = {
            "context": (list[str], d.InputField(desc="what to read")),
            "query": (str, d.InputField()),
            "row": (dict[str, Any], d.InputField()),
            "answer": (int, d.OutputField(desc="the count", ge=0)),
            "tone": (Literal["good", "bad"], d.OutputField()),
            "place": (Place, d.OutputField()),
            "tags": (list[str], d.OutputField()),
            "why": (str, d.OutputField()),
        }
        made = d.RLM(
            d.Signature(fields, "Find it."),
            max_iters=5,
            max_output_chars=500,
            tools=[look, d.Tool(lambda x: x, name="same")],
            interpreter_factory=Plain,
        )
        for predictor in (made.generate_action, made.extract):
            predictor.signature = predictor.signature.with_instructions("Do it.")
        result = made(context=["a" * 3000, "b"], query="q\n'x'", row={"k": [1, None], "ü": 2.5})
        return [n for n, _ in made.named_predictors()], list(made.tools), result.toDict()

    theirs, mine = compared(program, *RUNS[case])
    assert mine == theirs


def test_outputs_of_the_wrong_type_are_told_and_right_ones_are_objects() -> None:
    class Answer(lampc.Signature):
        """Find it."""

        query: str = lampc.InputField()
        answer: int = lampc.OutputField()
        tone: Literal["good", "bad"] = lampc.OutputField()
        place: Place = lampc.OutputField()

    script = acting(
        "SUBMIT(answer='one', tone='odd', place=3)", "SUBMIT(answer='1', tone='good', place={'city': 'Ulm', 'zip': 2})"
    )
    with ours(script):
        made = lampc.RLM(Answer)(query="q")
    assert made.trajectory[0]["output"] == (
        "[Type Error] answer: expected int, got str: expected a whole number, got 'one'; "
        "tone: expected Literal, got str: expected one of: good, bad; got 'odd'; "
        "place: expected Place, got int: expected an object, got 3"
    )
    assert (made.answer, made.tone, made.place) == (1, "good", Place(city="Ulm", zip=2))


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d.RLM("print -> answer"),
        lambda d: d.RLM("interpreter_factory -> answer"),
        lambda d: d.RLM("q -> trajectory"),
        lambda d: d.RLM("look -> answer", tools=[look]),
        lambda d: d.RLM("q -> answer", tools=[look, look]),
        lambda d: d.RLM("q -> answer", tools=[d.Tool(look, name="SUBMIT")]),
        lambda d: d.RLM("q -> answer", tools=[d.Tool(look, name="a b")]),
        lambda d: d.RLM("q -> answer")(question="x"),
        lambda d: d.RLM("q -> answer")(),
    ],
)
def test_misuse_is_refused_as_by_dspy(make: Callable[[Any], Any]) -> None:
    theirs, mine = compared(make)
    assert mine[0] == theirs[0]
    assert theirs[0][0][0] == "ValueError"


def test_other_misuse() -> None:
    with pytest.raises(TypeError, match="tools must be a list, not a dict"):
        lampc.RLM("q -> answer", tools={"look": look})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is an interpreter, not what makes one"):
        lampc.RLM("q -> answer", interpreter_factory=Plain())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "  x = 1\n",
        "```python\nx\n```",
        "```\nx\n```",
        "a\n```py\nx\ny\n```\nb\n```python\nz\n```",
        "```\n```python\nx\n```\n```",
        "```python\nx",
        "```python x```",
        "```rust\nx\n```",
        "``` python3 hl\nx\n```",
        "",
        "```",
        "```\n```",
    ],
)
def test_code_in_fences_is_found_as_by_dspy(text: str) -> None:
    def found(read: Callable[[str], str]) -> str:
        try:
            return read(text)
        except SyntaxError as e:
            return f"SyntaxError: {e}"

    assert found(code_text.unfenced) == found(_strip_code_fences)


@pytest.mark.parametrize(
    "value", ["a" * 1001, "b" * 1000, {"k": ["ü", 1]}, [1, 2], 3, None, 2.5, Place(city="Ulm"), ()]
)
def test_variables_are_told_of_as_by_dspy(value: Any) -> None:
    ours_, theirs_ = code_repl.REPLVariable.from_value("x", value), repl_types.REPLVariable.from_value("x", value)
    assert ours_.format() == theirs_.format()


@pytest.mark.parametrize("most", [0, 1, 7, 10, 11, 10_000])
def test_steps_are_told_as_by_dspy(most: int) -> None:
    mine: Any = code_repl.REPLHistory(max_output_chars=most)
    theirs: Any = repl_types.REPLHistory(max_output_chars=most)
    assert (mine.format(), len(mine)) == (theirs.format(), len(theirs))
    for text in ("0123456789", "", "a\nb", "0123456789x"):
        mine, theirs = (h.append(reasoning=text[:1], code=text, output=text) for h in (mine, theirs))
    assert mine.format() == theirs.format()
    assert [e.model_dump() for e in mine] == [e.model_dump() for e in theirs]


# -- in the sandbox --------------------------------------------------------------------------------------------


def acting(*codes: str, says: Callable[[str], str] = str.upper, final: dict[str, Any] | None = None) -> Any:
    """A script: the codes one after another, and answers to the prompts that code asks."""
    rest = iter(codes)

    def answer(messages: list[dict[str, str]]) -> Any:
        if len(messages) == 1:
            return says(messages[0]["content"])
        if "[[ ## code ## ]]" not in messages[0]["content"]:
            return final or {}
        return step(f"```python\n{next(rest)}\n```")

    return answer


def test_a_long_context_is_searched_and_asked_about_in_the_sandbox() -> None:
    pages = [f"page {i}: " + "filler " * 500 for i in range(40)]
    pages[23] += "the code is 4711"
    script = acting(
        "print(type(pages), len(pages), len(pages[0]))",
        "hits = [p for p in pages if 'code' in p]\nanswer = llm_query('read: ' + hits[0][-16:])\nanswer",
        "import re\nn = int(re.findall(r'[0-9]+', answer)[0])\nSUBMIT(number=n, page=pages.index(hits[0]))",
    )
    with ours(script) as side:
        made = side.d.RLM("pages: list[str], question -> number: int, page: int")(pages=pages, question="the code?")
    assert (made.number, made.page) == (4711, 23)
    assert [s["output"] for s in made.trajectory] == [
        "<class 'list'> 40 3508\n",
        "READ: THE CODE IS 4711",
        "FINAL: {'number': 4711, 'page': 23}",
    ]
    told = side.prompts[0]
    assert "Variable: `pages` (access it in your code)" in told[1]["content"]
    assert "Execution environment:\n        Python runs in a sandbox" in told[0]["content"]
    assert all(len(m["content"]) < 6000 for p in side.prompts for m in p), "the context is in no prompt"
    assert [{"role": "user", "content": "read: the code is 4711"}] in side.prompts


def test_prompts_of_one_call_are_one_batch_also_across_rows() -> None:
    model = DummyLM(acting(*["SUBMIT(llm_query_batched([f'{q} {i}' for i in range(5)]))"] * 3))
    lampc.configure(lm=model)
    with lampc.context(layout="chat"):
        program = lampc.RLM("q -> answers: list[str]")
        rows = program.batch([lampc.Example(q=q).with_inputs("q") for q in ("a", "b", "c")])
    assert [r.answers for r in rows] == [[f"{q} {i}" for i in range(5)] for q in ("A", "B", "C")]
    assert model.batches == [3, 15]


def test_calls_of_models_are_bounded_and_a_failing_one_fails_alone() -> None:
    def says(prompt: str) -> str:
        if "bad" in prompt:
            raise ValueError("the model is out")
        return "ok"

    script = acting(
        "print(llm_query_batched(['a', 'bad', 'c']), llm_query_batched([]))",
        "llm_query('')",
        "llm_query_batched(['d', 'e'])",
        "llm_query('d')",
        "llm_query('e')",
        says=says,
        final={"answer": "gave up"},
    )
    with ours(script) as side:
        made = side.d.RLM("q -> answer", max_llm_calls=4, max_iters=5)(q="x")
    first, *rest = [s["output"] for s in made.trajectory]
    assert first.startswith("['ok', '[ERROR] ")
    assert "the model is out" in first
    assert first.endswith(", 'ok'] []\n")
    assert rest == [
        "[Error] RuntimeError: ValueError: prompt cannot be empty (line 1)",
        "[Error] RuntimeError: RuntimeError: LLM call limit exceeded: 3 + 2 > 4. "
        "Use Python code for aggregation instead of making more LLM calls. (line 1)",
        "ok",
        "[Error] RuntimeError: RuntimeError: LLM call limit exceeded: 4 + 1 > 4. "
        "Use Python code for aggregation instead of making more LLM calls. (line 1)",
    ]
    assert (made.answer, made.final_reasoning) == ("gave up", "Extract forced final output")


def test_tools_a_loop_without_end_and_names_that_live_on() -> None:
    script = acting(
        "a = look('k', k=2)",
        "a = 'changed'\nwhile True:\n    pass",
        "open('/etc/passwd')",
        "SUBMIT(a)",
    )
    with ours(script) as side:
        quick = lampc.SandboxLimits(seconds=0.3)
        made = side.d.RLM(
            "q -> answer", tools=[look], interpreter_factory=lambda: lampc.PythonInterpreter(limits=quick)
        )(q="x")
    assert made.answer == "k 2"
    assert [s["output"] for s in made.trajectory] == [
        "(no output - did you forget to print?)",
        "[Error] TimeoutError: the code took more than 0.3 s; all names are as they were before this code",
        "[Error] PermissionError: Permission denied: '/etc/passwd' (line 1)",
        "FINAL: {'answer': 'k 2'}",
    ]


def test_many_tasks_at_once() -> None:
    model = DummyLM(acting(*["SUBMIT(llm_query(q))"] * 6))
    lampc.configure(lm=model)

    async def main() -> list[Any]:
        program = lampc.RLM("q -> answer")
        return await asyncio.gather(*(program.acall(q=f"q{i}") for i in range(6)))

    with lampc.context(layout="chat"):
        assert [p.answer for p in asyncio.run(main())] == [f"Q{i}" for i in range(6)]
    assert model.batches == [6, 6]


def test_a_value_that_code_builds_again() -> None:
    class Table(lampc.SandboxSerializable):
        def __init__(self, rows: dict[str, int]) -> None:
            self.rows = rows

        def sandbox_setup(self) -> str:
            return "import json"

        def to_sandbox(self) -> bytes:
            return ";".join(f"{k}={v}" for k, v in self.rows.items()).encode()

        def sandbox_assignment(self, var_name: str, data_expr: str) -> str:
            return f"{var_name} = {{p.split('=')[0]: int(p.split('=')[1]) for p in {data_expr}.split(';')}}"

        def rlm_preview(self, max_chars: int = 500) -> str:
            return f"Table of {len(self.rows)} rows"

    with ours(acting("SUBMIT(table['b'] + 1)")) as side:
        made = side.d.RLM("table -> answer: int")(table=Table({"a": 1, "b": 2}))
    assert made.answer == 3
    shown = side.prompts[0][1]["content"]
    assert "Type: Table\nDescription: Sandbox imports available:\nimport json" in shown.replace("    ", "")
    assert "Table of 2 rows" in shown


def test_the_instruction_is_a_parameter_and_is_kept() -> None:
    program = lampc.RLM("context, query -> answer", tools=[look])
    text = program.generate_action.signature.instructions
    for said in ("`context`, `query`", "SUBMIT(answer)", "look, whose description", "At most 50 prompts"):
        assert said in text
    assert [n for n, _ in program.named_predictors()] == ["generate_action", "extract"]
    assert "Python runs in a sandbox" in text

    class Other(lampc.PythonInterpreter):
        execution_instructions = "All of Python."

    with ours(in_turn(step("SUBMIT('b')"))) as side:
        assert program(context="c", query="q", interpreter_factory=Other).answer == "b"
    assert "All of Python." in side.prompts[0][0]["content"]
    assert "Python runs in a sandbox" not in side.prompts[0][0]["content"]
    with ours(in_turn(step("SUBMIT('a')"))) as side:
        program.generate_action.signature = program.generate_action.signature.with_instructions("Do this.")
        assert program(context="c", query="q").answer == "a"
    assert side.prompts[0][0]["content"].endswith("Do this.")
