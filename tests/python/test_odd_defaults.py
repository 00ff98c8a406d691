"""Defaults that are not of the type of what has them, and fields that a class makes itself: as in plain calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydantic
import pydantic.dataclasses
import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python import trace
from lampc.runtime.session import Session
from lampc.runtime.types import Outcome, Row

ask = lampc.Predict("question -> answer")


class Odd(lampc.Signature):
    question: str = lampc.InputField()
    n: int = lampc.InputField(default=None)
    size: int = lampc.InputField(default=3)
    answer: str = lampc.OutputField()


@dataclass
class Asked:
    question: str
    n: int = None  # type: ignore[assignment]
    unit: str = 7  # type: ignore[assignment]


class Modelled(pydantic.BaseModel):
    asked: Asked
    more: list[Asked] = []
    n: int = None  # type: ignore[assignment]


@dataclass
class Made:
    a: int
    twice: int = dataclasses.field(init=False)
    fixed: int = dataclasses.field(init=False, default=4)

    def __post_init__(self) -> None:
        self.twice = 2 * self.a


@dataclass
class Holder:
    made: Made
    other: Made = dataclasses.field(default_factory=lambda: Made(5))


@lampc.pure
def told(asked: Asked) -> str:
    return f"{asked.question}, {asked.n}, {asked.unit}"


@lampc.pure
def counted(holder: Holder) -> int:
    return holder.made.twice + holder.made.fixed + holder.other.twice


@lampc.tool
def looked_up(question: str, n: int = None) -> str:  # type: ignore[assignment]  # noqa: RUF013
    return f"{question}, {n}"


def in_a_class(given: Asked) -> Any:
    return {"answer": ask(question=given.question).answer, "seen": told(given), "none": given.n is None}


def in_a_model(given: Modelled) -> Any:
    answer = ask(question=given.asked.question).answer
    return {"answer": answer, "seen": [told(given.asked)] + [told(m) for m in given.more], "none": given.n is None}


def returned(given: str) -> Modelled:
    return {"asked": {"question": ask(question=given).answer}}  # type: ignore[return-value]


def in_a_tool(given: str) -> Any:
    return {"answer": ask(question=given).answer, "seen": looked_up(given)}


def made_by_the_class(given: Holder) -> Any:
    return {"answer": ask(question="?").answer, "twice": given.made.twice, "sum": counted(given)}


MADE = {"answer": "so", "twice": 2, "sum": 16}


def run(program: Any, inputs: dict[str, Any], reply: str = "so") -> Outcome:
    unit = trace(program)
    assert unit.dynamic is None
    with Session(model=FakeEngine(lambda _: reply)) as session:
        (outcome,) = session.run(unit, [Row("0", inputs)])
    return outcome


@pytest.mark.parametrize(
    ("function", "given", "outputs"),
    [
        (in_a_class, {"question": "q"}, {"answer": "so", "seen": "q, None, 7", "none": True}),
        (in_a_class, {"question": "q", "n": None}, {"answer": "so", "seen": "q, None, 7", "none": True}),
        (in_a_class, {"question": "q", "n": 1}, {"answer": "so", "seen": "q, 1, 7", "none": False}),
        (in_a_class, Asked("q"), {"answer": "so", "seen": "q, None, 7", "none": True}),
        (
            in_a_model,
            {"asked": {"question": "q"}, "more": [{"question": "r", "unit": "m"}]},
            {"answer": "so", "seen": ["q, None, 7", "r, None, m"], "none": True},
        ),
        (returned, "q", {"asked": {"question": "so", "n": None, "unit": 7}, "more": [], "n": None}),
        (in_a_tool, "q", {"answer": "so", "seen": "q, None"}),
        (made_by_the_class, {"made": {"a": 1}}, MADE),
        (made_by_the_class, {"made": {"a": 1}, "other": {"a": 5}}, MADE),
        (made_by_the_class, Holder(Made(1)), MADE),
    ],
)
def test_what_a_row_leaves_out_is_what_its_class_or_tool_has(
    function: Callable[..., Any], given: Any, outputs: dict[str, Any]
) -> None:
    outcome = run(lampc.program(function, name="main"), {"given": given})
    assert (outcome.error, outcome.value) == (None, outputs)


def test_other_values_of_a_wrong_type_are_refused() -> None:
    outcome = run(lampc.program(in_a_class, name="main"), {"given": {"question": "q", "n": "one"}})
    assert outcome.error is not None
    assert outcome.error.message == "input `given`: field `n`: expected int, got 'one'"


@pytest.mark.parametrize("given", [{}, {"n": None}, {"n": None, "size": 3}])
def test_a_predictor_by_itself_has_the_defaults_of_its_signature(given: dict[str, Any]) -> None:
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        return "so"

    with Session(model=FakeEngine(reply)) as session:
        outcomes = session.run(trace(lampc.Predict(Odd)), [Row("0", {"question": "q", **given})])
        wrong = session.run(trace(lampc.Predict(Odd)), [Row("0", {"question": "q", "size": None})])
    assert [(o.error, o.value) for o in outcomes] == [(None, {"answer": "so"})]
    assert "n: null\nsize: 3" in prompts[0]
    assert wrong[0].error is not None
    assert wrong[0].error.message == "input `size`: expected int, got None"


@pytest.mark.parametrize("text", ['{"question": "q"}', '{"question": "q", "n": null, "unit": 7}'])
def test_a_model_may_leave_out_what_has_a_default(text: str) -> None:
    class Asking(lampc.Signature):
        question: str = lampc.InputField()
        asked: Asked = lampc.OutputField()

    with lampc.context(lm=lampc.utils.DummyLM([{"asked": text}])):
        assert lampc.Predict(Asking)(question="?").asked == Asked("q")
    outcome = run(lampc.Predict(Asking), {"question": "?"}, text)
    assert (outcome.error, outcome.value) == (None, {"asked": {"question": "q", "n": None, "unit": 7}})


@pytest.mark.parametrize("given", [{"size": 3.0}, {"zero": False}])
def test_what_is_only_equal_to_a_default_is_not_it(given: dict[str, Any]) -> None:
    class Zero(Odd):
        zero: int = lampc.InputField(default=0)

    with Session(model=FakeEngine(lambda _: "so")) as session:
        (outcome,) = session.run(trace(lampc.Predict(Zero)), [Row("0", {"question": "q", **given})])
    assert outcome.error is not None
    ((name, value),) = given.items()
    assert outcome.error.message == f"input `{name}`: expected int, got {value}"


@pydantic.dataclasses.dataclass
class Described:
    a: int = pydantic.Field(gt=0)
    n: int = pydantic.Field(default=None)


def described(given: Described) -> Any:
    return {"answer": ask(question="?").answer, "n": given.n}


def test_dataclasses_of_pydantic_have_the_defaults_that_its_fields_say() -> None:
    outcome = run(lampc.program(described, name="main"), {"given": {"a": 1}})
    assert (outcome.error, outcome.value) == (None, {"answer": "so", "n": None})
    outcome = run(lampc.program(described, name="main"), {"given": {"n": 1}})
    assert outcome.error is not None
    assert outcome.error.message == "input `given`: field `a` is missing"
