"""Tools in a compiled graph do what they do when the program runs as plain Python: the same casts, the same errors."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

import lampc
from lampc.frontend.python.tracing import trace
from lampc.ir.prog import Tool as ToolOp
from lampc.runtime.interp import interpret
from tests.python.twins import ours


class Place(pydantic.BaseModel):
    city: str
    zip: int = 0


@lampc.tool
def visit(place: Place, n: int, how: str = "by train") -> str:
    return f"{type(place).__name__} {place.city} {place.zip} {n!r} {how}"


@lampc.tool
async def later(n: int) -> int:
    return n + 1


class Trip(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plan = lampc.Predict("q -> city, n: int, kind")

    def forward(self, q: str) -> Any:
        r = self.plan(q=q)
        return lampc.Prediction(seen=visit({"city": r.city, "zip": 5}, n=r.n), next=later(r.n))


class Wrong(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plan = lampc.Predict("q -> city, n")

    def forward(self, q: str) -> Any:
        r = self.plan(q=q)
        return lampc.Prediction(seen=visit(place={"city": r.city}, n=r.n))


def test_arguments_are_cast_in_a_graph_too() -> None:
    program = Trip()
    unit = trace(program)
    assert unit.dynamic is None
    assert len([op for op in unit.module.walk() if isinstance(op, ToolOp)]) == 2
    with ours(lambda _: {"city": "Ulm", "n": 2, "kind": "x"}):
        plain = program(q="a")
        (batched,) = program.batch([lampc.Example(q="a").with_inputs("q")])
    assert dict(plain.items()) == dict(batched.items()) == {"seen": "Place Ulm 5 2 by train", "next": 3}


def test_arguments_are_refused_in_a_graph_too() -> None:
    program = Wrong()
    assert trace(program).dynamic is None
    said = "Arg n is invalid: '2' is not of type 'integer'"
    with ours(lambda _: {"city": "Ulm", "n": "2"}):
        with pytest.raises(ValueError, match=said):
            program(q="a")
        _, _, (error,) = program.batch([lampc.Example(q="a").with_inputs("q")], return_failed_examples=True)
    assert said in str(error)


def test_the_reference_interpreter_does_the_same() -> None:
    class Direct(lampc.Module):
        def forward(self, n: int) -> Any:
            return lampc.Prediction(seen=visit({"city": "Bonn"}, n), next=later(n))

    unit = trace(Direct())
    outcome = interpret(unit.module, {"n": 4}, entry=unit.entry)
    assert outcome == {"seen": "Place Bonn 0 4 by train", "next": 5}
