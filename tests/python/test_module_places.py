"""Library modules by themselves: what goes wrong in them is shown where the user built them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python import trace
from lampc.runtime.session import Session
from lampc.runtime.types import Row


def search(query: str) -> str:
    return query


BUILT: list[Callable[[], Any]] = [
    lambda: lampc.ReAct("question -> answer", tools=[search]),
    lambda: lampc.ReAct("question -> answer", tools=[lambda query: query]),
    lambda: lampc.ReActV2("question -> answer", tools=[search]),
    lambda: lampc.ProgramOfThought("question -> answer"),
    lambda: lampc.CodeAct("question -> answer", tools=[search]),
]


@pytest.mark.parametrize("build", BUILT)
def test_what_goes_wrong_in_a_library_module_is_shown_where_it_was_built(build: Callable[[], Any]) -> None:
    unit = trace(build())
    here = f"{__file__}:{build.__code__.co_firstlineno}"
    assert unit.path == __file__
    notes = [*unit.warnings, *([unit.dynamic] if unit.dynamic else [])]
    places = [str(op.loc.origin()) for op in unit.module.walk() if op.loc.origin()]
    assert {p.rpartition(":")[0] for p in (*places, *(str(n.primary.span) for n in notes))} == {here}
    with Session(model=FakeEngine(lambda prompt: "no fields at all")) as session:
        (row,) = session.run(unit, [Row("0", {"question": "q"})])
    assert row.error is not None
    assert row.error.where.startswith(here)
