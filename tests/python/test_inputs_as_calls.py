"""Rows of batches and evaluations are arguments of calls: they may hold whatever a call takes, beside DSPy's own."""

from __future__ import annotations

import datetime
import enum
from typing import Any

import pydantic
import pytest

from tests.python.twins import both


class Point(pydantic.BaseModel):
    x: int


class Mood(enum.Enum):
    GOOD = "good"


def scripted(messages: list[dict[str, str]]) -> dict[str, str]:
    return {"answer": "A"}


def programs(d: Any) -> dict[str, Any]:
    class Base(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a = d.Predict("q -> answer")

    class Style(Base):
        def forward(self, q, style="short"):  # type: ignore[no-untyped-def]
            return d.Prediction(answer=self.a(q=f"{q} ({style})").answer, seen=style)

    class Annotated(Base):
        def forward(self, q: str, style: str = "short", *, more: int = 1) -> Any:
            return d.Prediction(answer=self.a(q=f"{q} ({style})").answer, seen=[style] * more)

    class Nothing(Base):
        def forward(self, q: str, style: str | None = None) -> Any:
            return d.Prediction(answer=self.a(q=q).answer, seen=style)

    class Plain(Base):
        def forward(self, q):  # type: ignore[no-untyped-def]
            return d.Prediction(answer=self.a(q=q).answer, seen=q)

    class Number(Base):
        def forward(self, q: int) -> Any:
            return d.Prediction(answer=self.a(q=str(q)).answer, seen=type(q).__name__)

    class Text(Base):
        def forward(self, q: str) -> Any:
            return d.Prediction(answer=self.a(q=f"<{q}>").answer, seen=q)

    return {c.__name__: c() for c in (Style, Annotated, Nothing, Plain, Number, Text)}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("Style", [{"style": "long"}, {}, {"style": "x"}]),
        ("Style", [{}]),
        ("Annotated", [{"style": "long", "more": 2}, {"more": 3}]),
        ("Nothing", [{"style": "x"}, {}]),
        ("Plain", [{"q": v} for v in ((1, 2), Point(x=1), Mood.GOOD, datetime.date(2020, 1, 1))]),
        ("Number", [{"q": 1}, {"q": "two"}, {"q": None}]),
        ("Text", [{"q": 5}, {"q": None}, {"q": ["a"]}, {"q": True}]),
    ],
)
def test_batches_and_evaluations_pass_what_calls_pass(name: str, rows: list[dict[str, Any]]) -> None:
    def program(d: Any) -> Any:
        module = programs(d)[name]
        examples = [d.Example(**{"q": "1", **r}).with_inputs("q", *r) for r in rows]
        seen: list[Any] = []

        def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
            seen.append(prediction.seen)
            return True

        called = [module(**e.inputs()).seen for e in examples]
        made = [p.seen for p in module.batch((e for e in examples), num_threads=1, disable_progress_bar=True)]
        d.Evaluate(devset=examples, metric=metric, num_threads=1)(module)
        assert called == made == seen
        return called

    a, b = both(program, lambda: scripted)
    assert b[0] == a[0]
    assert sorted(map(str, b[1])) == sorted(map(str, a[1])), "the same prompts"


def test_a_row_without_an_input_fails_as_the_call_does() -> None:
    def program(d: Any) -> Any:
        module = programs(d)["Text"]
        rows = [d.Example(other="x").with_inputs("other"), d.Example(q="x").with_inputs("q")]
        made, _, errors = module.batch(rows, num_threads=1, disable_progress_bar=True, return_failed_examples=True)
        return [p and p.answer for p in made], [type(e) for e in errors]

    a, b = both(program, lambda: scripted)
    assert b[0] == a[0] == ([None, "A"], [TypeError])
