"""Sequences that are no lists, where a program wants lists: rows of a session take what a plain call takes."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python import trace
from lampc.runtime.session import Session
from lampc.runtime.types import Row


class Count(lampc.Signature):
    numbers: list[int] = lampc.InputField()
    answer: str = lampc.OutputField()


count = lampc.Predict(Count)


class Seven(Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        return [7][index]

    def __len__(self) -> int:
        return 1


class Broken(Seven):
    def __getitem__(self, index: Any) -> Any:
        raise OSError("the file is gone")


@lampc.program
def main(numbers: list[int]) -> Any:
    return {"answer": count(numbers=numbers).answer, "next": [n + 1 for n in numbers]}


@pytest.mark.parametrize("numbers", [range(3), (0, 1), deque([4]), array("i", [5]), Seven()])
def test_sequences_are_lists_in_rows_and_calls(numbers: Sequence[int]) -> None:
    asked: list[str] = []
    with lampc.context(lm=lampc.utils.DummyLM([{"answer": "so"}])):
        called = main(numbers=numbers)
        asked.append(str(lampc.settings.lm.history[-1]["messages"][-1]["content"]))

    def reply(prompt: str) -> str:
        asked.append(prompt)
        return "so"

    unit = trace(main)
    assert unit.dynamic is None
    with Session(model=FakeEngine(reply)) as session:
        (outcome,) = session.run(unit, [Row("0", {"numbers": numbers})])
    assert (outcome.error, outcome.value) == (None, called)
    assert called == {"answer": "so", "next": [n + 1 for n in numbers]}
    assert all(str(list(numbers)) in text for text in asked)


def test_lists_of_sequences() -> None:
    @lampc.program(name="main")
    def main(rows: list[list[int]]) -> Any:
        return {"answer": count(numbers=[1]).answer, "rows": [[n + 1 for n in row] for row in rows]}

    with Session(model=FakeEngine(lambda _: "so")) as session:
        (outcome,) = session.run(trace(main), [Row("0", {"rows": deque([range(2), [4]])})])
    assert (outcome.error, outcome.value) == (None, {"answer": "so", "rows": [[1, 2], [5]]})


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ("ab", "input `numbers`: expected list[int], got 'ab'"),
        (range(0), None),
        (deque(["a"]), "input `numbers`: item 0: expected int, got 'a'"),
        (Broken(), "input `numbers`: OSError: the file is gone"),
    ],
)
def test_what_is_no_list_of_the_type_fails_its_row_alone(numbers: Any, why: str | None) -> None:
    with Session(model=FakeEngine(lambda _: "so")) as session:
        bad, good = session.run(trace(main), [Row("0", {"numbers": numbers}), Row("1", {"numbers": [1]})])
    assert (bad.error.message if bad.error else None) == why
    assert good.value == {"answer": "so", "next": [2]}
