"""Sequences that are no lists, where a program wants lists: rows of a session take what a plain call takes."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize(
    "numbers",
    [
        range(3), (0, 1), deque([4]), array("i", [5]), Seven(), {1: 2}.keys(), {1: 2}.values(),
        np.arange(3), [np.int64(2), np.int8(3)], torch.tensor([1, 2]),
    ],
)  # fmt: skip
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
    assert all(str([int(n) for n in numbers]) in text for text in asked)


@lampc.program
def named(pairs: list[tuple[str, int]]) -> Any:
    return {"names": [name for name, _ in pairs]}


def test_items_of_dicts_are_lists() -> None:
    pairs = {"a": 1, "b": 2}.items()
    with Session(model=FakeEngine(lambda prompt: "")) as session:
        (outcome,) = session.run(trace(named), [Row("0", {"pairs": pairs})])
    assert (outcome.error, outcome.value) == (None, named(pairs=pairs))


@dataclass
class Series:
    values: list[float]
    count: int


@lampc.program
def total(series: Series) -> Any:
    return {"total": sum(series.values) / series.count}


def test_arrays_in_fields_of_objects_are_lists() -> None:
    series = Series(np.arange(2000.0), np.int64(4))  # type: ignore[arg-type]
    with Session(model=FakeEngine(lambda prompt: "")) as session:
        (outcome,) = session.run(trace(total), [Row("0", {"series": series})])
    assert (outcome.error, outcome.value) == (None, total(series=series))


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


@lampc.program
def measure(n: int, share: float, sure: bool, found: dict[str, int]) -> Any:
    return {"n": n, "share": share, "sure": sure, "found": found["a"]}


def test_numbers_of_numpy_are_numbers() -> None:
    row = {"n": np.int32(3), "share": np.float32(0.5), "sure": np.bool_(True), "found": {"a": np.uint8(2)}}
    with Session(model=FakeEngine(lambda prompt: "")) as session:
        given, whole = session.run(trace(measure), [Row("0", row), Row("1", {**row, "n": np.float64(3.5)})])
    assert given.value == {"n": 3, "share": 0.5, "sure": True, "found": 2}
    assert [type(v) for v in given.value.values()] == [int, float, bool, int]
    assert whole.error is not None
    assert whole.error.message == "input `n`: expected int, got 3.5"


def test_what_a_function_of_the_user_returns_may_be_a_number_of_numpy() -> None:
    with Session(model=FakeEngine(lambda prompt: "")) as session:
        (outcome,) = session.run(trace(counted), [Row("0", {"text": "a b"})])
    assert (outcome.error, outcome.value) == (None, {"count": 2})
    assert type(outcome.value["count"]) is int


@lampc.pure
def words(text: str) -> int:
    return np.int64(len(text.split()))  # type: ignore[return-value]


@lampc.program
def counted(text: str) -> Any:
    return {"count": words(text)}
