"""Programs whose outputs are of their declared types: none is refused, and none of their rows fails."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from typing import Any, Literal, NotRequired, TypedDict

import pydantic
import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python.tracing import build
from lampc.runtime.session import Session
from lampc.runtime.types import Outcome, Row

ask = lampc.Predict("question -> answer, sure: float, n: int, tags: list[str]")
SAID = {"answer": "yes", "sure": "0.5", "n": "4", "tags": '["u", "v"]'}


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Loose(TypedDict, total=False):
    answer: str
    n: int


class Half(Loose):
    sure: float
    more: NotRequired[int]


class Reply(lampc.Signature):
    question: str = lampc.InputField()
    answer: str = lampc.OutputField()
    sure: float = lampc.OutputField()


class Tags(pydantic.RootModel[list[str]]):
    pass


class Hiding(pydantic.BaseModel):
    answer: str
    key: int = pydantic.Field(default=1, exclude=True)


class Named(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(serialize_by_alias=True)
    answer: str = pydantic.Field(serialization_alias="theAnswer")


class Texts(pydantic.BaseModel):
    n: int

    @pydantic.field_serializer("n")
    def as_text(self, n: int) -> str:
        return str(n)


def some_items(question: str) -> Loose:
    return {"answer": ask(question=question).answer}


def some_inherited_items(question: str) -> Half:
    return {"sure": ask(question=question).sure}


def perhaps_a_signature(question: str) -> Reply | None:
    return ask(question=question)  # type: ignore[no-any-return]


def signatures(question: str) -> list[Reply]:
    return [ask(question=question)]


def by_member(question: str) -> dict[Color, str]:
    return {Color.RED: ask(question=question).answer}


def by_tuple(question: str) -> dict[tuple[str, str], int]:
    return {(ask(question=question).answer, "x"): 1}


def root(question: str) -> Tags:
    return Tags(ask(question=question).tags)


def hiding(question: str) -> Hiding:
    return Hiding(answer=ask(question=question).answer)


def named(question: str) -> Named:
    return Named(answer=ask(question=question).answer)


def as_texts(question: str) -> Texts:
    return Texts(n=ask(question=question).n)


def rounded(question: str) -> int:
    return round(ask(question=question).sure * 10)


def repeated(question: str) -> str:
    return ask(question=question).answer * 2  # type: ignore[no-any-return]


def repeated_list(question: str) -> list[str]:
    return 2 * ask(question=question).tags  # type: ignore[no-any-return]


def letters(question: str) -> list[str]:
    return sorted(ask(question=question).answer)


def sorted_names(question: str) -> list[str]:
    return sorted({"b": ask(question=question).n, "a": 1})


def merged(question: str) -> dict[str, int]:
    return {"a": ask(question=question).n} | {"b": 1}


def both(question: str) -> bool:
    r = ask(question=question)
    return (r.n > 3) & (r.sure > 0.2)


def summed(question: str) -> int:
    return sum([ask(question=question).n], 0)


def by_value(question: str) -> str:
    counts = {"b": ask(question=question).n, "a": 1}
    return max(counts, key=counts.get)  # type: ignore[arg-type]


def fewer(question: str) -> bool:
    return {"v"} < set(ask(question=question).tags)


def without(question: str) -> set[str]:
    return set(ask(question=question).tags) - {"u"}


def run(function: Callable[..., Any], plainly: str) -> Outcome:
    text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in SAID.items())
    with Session(model=FakeEngine(lambda prompt: text)) as session:
        unit = build(lampc.program(function, name="main"), plainly=plainly, declared=True)
        (found,) = session.run(unit, [Row("0", {"question": "q"})])
    return found


@pytest.mark.parametrize("plainly", ["", "so that it runs as plain Python"])
@pytest.mark.parametrize(
    ("function", "value"),
    [
        (some_items, {"answer": "yes"}),
        (some_inherited_items, {"sure": 0.5}),
        (perhaps_a_signature, None),
        (signatures, None),
        (by_member, None),
        (by_tuple, None),
        (root, ["u", "v"]),
        (hiding, {"answer": "yes"}),
        (named, {"theAnswer": "yes"}),
        (as_texts, {"n": "4"}),
        (rounded, 5),
        (repeated, "yesyes"),
        (repeated_list, ["u", "v", "u", "v"]),
        (letters, ["e", "s", "y"]),
        (sorted_names, ["a", "b"]),
        (merged, {"a": 4, "b": 1}),
        (both, True),
        (summed, 4),
        (by_value, "b"),
        (fewer, True),
        (without, ["v"]),
    ],
)
def test_good_programs_are_not_refused(function: Callable[..., Any], value: Any, plainly: str) -> None:
    found = run(function, plainly)
    assert found.error is None, found.error.message
    if value is not None:
        assert json.loads(json.dumps(found.value)) in (value, {"result": value})


def fewer_labels(question: str) -> Literal["a", "b"]:
    label = lampc.Predict("question -> answer: Literal['yes', 'no', 'a']")(question=question).answer
    return label  # type: ignore[no-any-return]


def not_always(question: str) -> str:
    r = ask(question=question)
    return r.answer if r.n > 10 else None  # type: ignore[no-any-return]


def numbers(question: str) -> list[int]:
    return ask(question=question).tags  # type: ignore[no-any-return]


@pytest.mark.parametrize("plainly", ["", "so that it runs as plain Python"])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fewer_labels, 'expected "a" | "b", got \'yes\''),
        (not_always, "expected str, got None"),
        (numbers, "item 0: expected int, got 'u'"),
    ],
)
def test_values_that_may_fit_are_looked_at_in_each_row(
    function: Callable[..., Any], message: str, plainly: str
) -> None:
    found = run(function, plainly)
    assert found.error is not None
    assert message in found.error.message
