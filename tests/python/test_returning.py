"""What a program declares that it returns: held against its graph where it is compiled, else against each row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

import pydantic
import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.lmp.compile import compile_lmp
from lampc.frontend.python import trace
from lampc.ir import CompileError
from lampc.ir.prog import Func
from lampc.runtime.failures import RowFailure
from lampc.runtime.interp import interpret
from lampc.runtime.session import Session
from lampc.runtime.types import Outcome, Row

ask = lampc.Predict("question -> answer, sure: float")


@dataclass
class Out:
    answer: str
    n: int


class Reply(lampc.Signature):
    question: str = lampc.InputField()
    answer: int = lampc.OutputField()


def number(text: str) -> Any:
    return {"7": 7, "none": None, "keys": {1: 2}}.get(text, text)


def text_for_int(question: str) -> int:
    answer = ask(question=question).answer
    return answer  # type: ignore[no-any-return]


def field_of_record(question: str) -> Out:
    return {"answer": question, "n": ask(question=question).answer}  # type: ignore[return-value]


def missing(question: str) -> Out:
    return {"answer": ask(question=question).answer}  # type: ignore[return-value]


def outputs_of_a_signature(question: str) -> Reply:
    return ask(question=question)  # type: ignore[no-any-return]


def record_for_text(question: str) -> str:
    return ask(question=question)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (text_for_int, "output `answer` of `main` is declared int, and is str"),
        (field_of_record, "output `n` of `main` is declared int, and is str"),
        (missing, "`main` declares the output `n: int`, and does not return it"),
        (outputs_of_a_signature, "output `answer` of `main` is declared int, and is str"),
        (record_for_text, "`main` is declared to return str, and returns {answer: str, sure: float}"),
    ],
)
def test_what_cannot_be_of_the_declared_type_is_an_error_at_its_line(
    function: Callable[..., Any], message: str
) -> None:
    with pytest.raises(CompileError) as e:
        trace(lampc.program(function, name="main"))
    (found,) = e.value.diagnostics
    assert (found.code, found.message) == ("L0706", message)
    assert found.primary.span.path == __file__
    assert found.primary.span.function == function.__qualname__


def loose(question: str) -> Out:
    return lampc.Prediction(answer=question, n=3, extra=ask(question=question).answer)  # type: ignore[return-value]


def whole(question: str) -> float:
    return 1


def several(question: str) -> Literal["a", "b"]:
    label = ask(question=question).answer
    return label  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        (loose, {"answer": "str", "n": "int", "extra": "str"}),
        (whole, {"result": "float"}),
        (several, {"label": 'choice["a", "b"]'}),
    ],
)
def test_outputs_have_their_declared_types_and_the_others_stay(
    function: Callable[..., Any], outputs: dict[str, str]
) -> None:
    func = trace(lampc.program(function, name="main")).module.lookup("main")
    assert isinstance(func, Func)
    assert {n: str(t) for n, t in func.returns.fields} == outputs  # type: ignore[attr-defined]


def of_a_function(question: str) -> int:
    n = number(question)
    return n  # type: ignore[no-any-return]


def as_plain_python(question: str) -> int:
    try:
        return number(question)  # type: ignore[no-any-return]
    except KeyError:
        return 0


def object_as_plain_python(question: str) -> Out:
    return Out(question, number(question))


def by_number(question: str) -> dict[int, int]:
    try:
        return number(question)  # type: ignore[no-any-return]
    except KeyError:
        return {}


def outcomes(function: Callable[..., Any], *questions: str) -> list[Outcome]:
    rows = [Row(str(i), {"question": q}) for i, q in enumerate(questions)]
    with Session(model=FakeEngine()) as session:
        return session.run(trace(lampc.program(function, name="main")), rows)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (of_a_function, "output `n` of `main` is declared int: expected int, got 'seven', of type str"),
        (as_plain_python, "output `result` of `main` is declared int: expected int, got 'seven', of type str"),
        (object_as_plain_python, "field `n`: expected int, got 'seven'"),
    ],
)
def test_what_only_the_run_knows_fails_its_row(function: Callable[..., Any], message: str) -> None:
    good, bad = outcomes(function, "7", "seven")
    assert good.error is None
    assert bad.error is not None
    assert message in bad.error.message
    assert bad.error.where.startswith(f"{__file__}:{function.__code__.co_firstlineno}")


def test_keys_of_dicts_are_texts_in_json_alone() -> None:
    good, bad = outcomes(by_number, "keys", "7")
    assert good.error is None
    assert bad.error is not None
    assert "expected map[int]" in bad.error.message


def test_the_interpreter_and_source_files_hold_outputs_to_their_types_too() -> None:
    text = (
        'function number(text: str) -> any = python("tests.python.test_returning:number");\n'
        "module main(question: str) -> (n: int) { let n = number(question); return (n: n); }\n"
    )
    unit = compile_lmp(text)
    assert interpret(unit.module, {"question": "7"}) == {"n": 7}
    with pytest.raises(RowFailure, match="output `n` of `main` is declared int: expected int, got 'seven'"):
        interpret(unit.module, {"question": "seven"})
    with Session(model=FakeEngine()) as session:
        (row,) = session.run(unit, [Row("0", {"question": "seven"})])
    assert row.error is not None
    assert "expected int, got 'seven'" in row.error.message


class Hinted(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")

    def forward(self, question: str) -> int:
        return self.ask(question=question).answer  # type: ignore[no-any-return]


def test_in_batches_the_annotation_is_a_hint_as_it_is_in_calls() -> None:
    with lampc.context(lm=lampc.utils.DummyLM([{"answer": "so"}] * 2)):
        assert Hinted()(question="q") == "so"
        assert Hinted().batch([lampc.Example(question="q").with_inputs("question")]) == ["so"]
    with pytest.raises(CompileError, match="output `answer` of `Hinted` is declared int, and is str"):
        trace(Hinted())


@dataclass
class Measured:
    text: str
    sizes: list[int] = field(default_factory=lambda: [1])
    unit: str | None = "cm"


class Modelled(pydantic.BaseModel):
    inner: Measured
    n: int = 3


FULL = {"text": "so", "sizes": [1], "unit": "cm"}


def short(question: str) -> Measured:
    return {"text": ask(question=question).answer}  # type: ignore[return-value]


def short_inside(question: str) -> Modelled:
    return {"inner": {"text": ask(question=question).answer}}  # type: ignore[return-value]


def short_in_a_list(question: str) -> list[Measured]:
    return [{"text": ask(question=question).answer}]  # type: ignore[list-item]


def short_as_plain_python(question: str) -> Measured:
    try:
        return {"text": ask(question=question).answer}  # type: ignore[return-value]
    except KeyError:
        return Measured("")


def taken(question: Modelled) -> dict[str, Any]:
    return {"answer": ask(question=question.inner.text).answer, "n": question.n, "unit": question.inner.unit}


@pytest.mark.parametrize(
    ("function", "question", "outputs"),
    [
        (short, "?", FULL),
        (short_inside, "?", {"inner": FULL, "n": 3}),
        (short_in_a_list, "?", {"result": [FULL]}),
        (short_as_plain_python, "?", FULL),
        (taken, {"inner": {"text": "so"}}, {"answer": "so", "n": 3, "unit": "cm"}),
    ],
)
def test_fields_left_out_have_the_defaults_of_their_class(
    function: Callable[..., Any], question: Any, outputs: dict[str, Any]
) -> None:
    unit = trace(lampc.program(function, name="main"))
    with Session(model=FakeEngine(lambda _: "[[ ## answer ## ]]\nso\n\n[[ ## sure ## ]]\n0.5\n")) as session:
        (outcome,) = session.run(unit, [Row("0", {"question": question})])
    assert (outcome.error, outcome.value) == (None, outputs)


def required_left_out(question: Modelled) -> Any:
    return ask(question=question.n).answer


def test_a_field_without_a_default_is_still_missing() -> None:
    unit = trace(lampc.program(required_left_out, name="main"))
    with Session(model=FakeEngine(lambda _: "")) as session:
        (outcome,) = session.run(unit, [Row("0", {"question": {"inner": {"sizes": [2]}}})])
    assert outcome.error is not None
    assert outcome.error.message == "input `question`: field `inner`: field `text` is missing"


def test_who_goes_over_a_prediction_gets_its_names() -> None:
    asked = lampc.Predict("question -> answer, more")

    @lampc.program(name="main")
    def main(question: str) -> dict[str, Any]:
        made = asked(question=question)
        looped = []
        for name in made:
            looped.append(name + "!")  # noqa: PERF401
        text = ""
        for i, name in enumerate(made, 1):
            text = text + str(i) + name
        numbered = [[i, n] for i, n in enumerate(made)]
        names = [n for n in made]  # noqa: C416
        values = [made[n] for n in made]
        return {"names": names, "values": values, "looped": looped, "text": text, "numbered": numbered}

    unit = trace(main)
    assert unit.dynamic is None
    with Session(model=FakeEngine(lambda _: "[[ ## answer ## ]]\nso\n\n[[ ## more ## ]]\nx\n")) as session:
        (outcome,) = session.run(unit, [Row("0", {"question": "?"})])
    wanted = {"names": ["answer", "more"], "values": ["so", "x"], "looped": ["answer!", "more!"],
              "text": "1answer2more", "numbered": [[0, "answer"], [1, "more"]]}  # fmt: skip
    assert (outcome.error, outcome.value) == (None, wanted)


def test_who_goes_over_what_is_only_known_at_run_time_ends_no_other_row() -> None:
    @lampc.program(name="main")
    def main(question: Any) -> Any:
        return {"names": [n for n in question], "answer": ask(question="?").answer}  # noqa: C416

    rows = [Row(str(i), {"question": given}) for i, given in enumerate(({"a": 1, "b": 2}, ["c"], 5))]
    with Session(model=FakeEngine(lambda _: "[[ ## answer ## ]]\nso\n\n[[ ## sure ## ]]\n0.5\n")) as session:
        names, items, number = session.run(trace(main), rows)
    assert [o.value and o.value["names"] for o in (names, items)] == [["a", "b"], ["c"]]
    assert number.error is not None
    assert number.error.message == "5 is nothing to go over"


class Sparse(TypedDict):
    a: int
    b: NotRequired[int]


def test_who_goes_over_a_dict_gets_no_names_that_it_lacks() -> None:
    @lampc.program(name="main")
    def main(question: Sparse) -> Any:
        return {"names": [n for n in question], "answer": ask(question="?").answer}  # noqa: C416

    rows = [Row("0", {"question": {"a": 1}}), Row("1", {"question": {"a": 1, "b": 2}})]
    with Session(model=FakeEngine(lambda _: "[[ ## answer ## ]]\nso\n\n[[ ## sure ## ]]\n0.5\n")) as session:
        found = session.run(trace(main), rows)
    assert [o.value and o.value["names"] for o in found] == [["a"], ["a", "b"]]


class Paired(pydantic.BaseModel):
    a: int


def test_who_goes_over_an_object_gets_what_its_class_gives() -> None:
    @lampc.program(name="main")
    def main(question: Paired) -> Any:
        return {"pairs": [list(p) for p in question], "answer": ask(question="?").answer}

    assert trace(main).dynamic is not None


@dataclass
class Picky:
    text: str
    n: int = 1

    def __post_init__(self) -> None:
        if self.text != "so":
            raise KeyError(self.text)


class Spelled(pydantic.BaseModel):
    text: str
    n: int = 1

    @pydantic.model_serializer
    def spell(self) -> str:
        return f"{self.text} and {self.n}"


def given_picky(question: Picky) -> Any:
    return ask(question=question.text).answer


def given_spelled(question: Spelled) -> Any:
    return ask(question=question.text).answer


def picky_as_plain_python(question: Any) -> Picky:
    try:
        return {"text": question["text"]}  # type: ignore[return-value]
    except KeyError:
        return Picky("so")


@pytest.mark.parametrize("function", [given_picky, given_spelled, picky_as_plain_python])
def test_a_class_that_raises_or_writes_itself_otherwise_ends_no_other_row(function: Callable[..., Any]) -> None:
    unit = trace(lampc.program(function, name="main"))
    rows = [Row(t, {"question": {"text": t}}) for t in ("no", "so")]
    with Session(model=FakeEngine(lambda _: "[[ ## answer ## ]]\nso\n\n[[ ## sure ## ]]\n0.5\n")) as session:
        _, outcome = session.run(unit, rows)
    assert outcome.error is None


async def awaits(question: str) -> Any:
    return ask(question=question).answer


async def awaits_and_yields(question: str) -> Any:
    yield ask(question=question).answer


def yields(question: str) -> Any:
    yield ask(question=question).answer


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (awaits, "the program `awaits` is async"),
        (awaits_and_yields, "the program `awaits_and_yields` is async"),
        (yields, "the program `yields` yields, and a program has one result"),
    ],
)
def test_a_function_that_gives_no_value_when_it_is_called_is_no_program(
    function: Callable[..., Any], message: str
) -> None:
    with pytest.raises(CompileError) as e:
        lampc.program(function)
    (found,) = e.value.diagnostics
    assert (found.code, found.message, bool(found.help)) == ("L0705", message, True)
    assert found.primary.span.path == __file__
