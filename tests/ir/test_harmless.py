"""What is called harmless gives a value for everything that its operands' types admit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampc.ir.builtins import BUILTINS, apply
from lampc.ir.harmless import cannot_fail
from lampc.ir.types import ANY, BOOL, FLOAT, INT, STR, Choice, ListOf, Maybe, Type

CHOICE = Choice(("good", "bad"))
VALUES: dict[Type, st.SearchStrategy[Any]] = {
    INT: st.integers(-(2**60), 2**60),
    FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    BOOL: st.booleans(),
    STR: st.text(max_size=5),
    CHOICE: st.sampled_from(CHOICE.options),
    ListOf(STR): st.lists(st.text(max_size=3), max_size=3),
    Maybe(STR): st.none() | st.text(max_size=3),
    ANY: st.none() | st.integers() | st.text(max_size=3),
}


@given(st.data())
def test_what_cannot_fail_does_not(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(BUILTINS)))
    least, most = BUILTINS[name].arity
    types = data.draw(st.lists(st.sampled_from(sorted(VALUES, key=str)), min_size=least, max_size=min(most, 4)))
    if cannot_fail(name, types):
        apply(name, [data.draw(VALUES[t]) for t in types])


@pytest.mark.parametrize(
    ("name", "types", "verdict"),
    [
        ("eq", [ANY, ANY], True),
        ("lt", [INT, FLOAT], True),
        ("lt", [INT, STR], False),
        ("lower", [CHOICE], True),
        ("len", [Maybe(STR)], False),
        ("in", [ANY, ListOf(STR)], True),
        ("in", [STR, CHOICE], True),
        ("in", [INT, STR], False),
        ("div", [INT, INT], False),
    ],
)
def test_verdicts(name: str, types: list[Type], verdict: bool) -> None:
    assert cannot_fail(name, types) is verdict
