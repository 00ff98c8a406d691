"""Joint search over modules: their own retrievers and tuned values move, and the front is programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import OptimizeError
from lampc.retrievers import BM25
from tests.optimize.test_joint import FACTS, NOISE, PLANTS, QUERIES, reader, share

OUTSIDE = lampc.retriever("outside", k=1)
SPACE = {"facts.store": ["archive"], "facts.k": [1, 2, 3]}
OPTIONS: dict[str, Any] = {"layouts": (), "instructions": 1, "demo_sets": 0, "trials": 36}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    lampc.configure(
        lm=lampc.LM("reader", engine=FakeEngine(reader)), adapter="compact",
        retrievers={"facts": BM25(NOISE), "archive": BM25([*NOISE, *FACTS]), "outside": BM25(FACTS)},
    )  # fmt: skip
    yield
    set_default_runner(None)
    settings.reset()


class LookUp(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.facts = lampc.retriever("facts", k=1)
        self.query = lampc.tune("query", "{}", QUERIES)
        self.look = lampc.Predict("passages: list[str], plant -> answer")

    def forward(self, plant: str) -> Any:
        return lampc.Prediction(
            answer=self.look(passages=self.facts(self.query.replace("{}", plant)), plant=plant).answer
        )


class Outside(LookUp):
    def forward(self, plant: str) -> Any:
        return lampc.Prediction(answer=self.look(passages=OUTSIDE(plant), plant=plant).answer)


ROWS = [lampc.Example(plant=p, answer=f"{12 + i} {40 + i}").with_inputs("plant") for i, p in enumerate(PLANTS)]


def right(example: Any, prediction: Any, trace: Any = None) -> float:
    return share(prediction.answer, example.answer)


def test_the_module_that_comes_out_has_what_was_found() -> None:
    student = LookUp()
    made = lampc.JointSearch(right, choices=SPACE, **OPTIONS).compile(student, trainset=ROWS)
    score = lampc.Evaluate(devset=ROWS, metric=right)
    assert score(student).score == 0.0
    assert score(made).score == 100.0
    assert (made.facts.k, made.facts.symbol, made.query.default) == (2, "archive", "{} height age")
    assert (student.facts.k, student.facts.symbol, student.query.default) == (1, "facts", "{}")
    assert made(plant="birch").answer == "12 40"
    points = made.front
    assert [p["tokens"] for p in points] == sorted(p["tokens"] for p in points)
    assert [p["score"] for p in points] == sorted(p["score"] for p in points)
    assert [score(p["program"]).score for p in points] == pytest.approx([p["score"] for p in points], abs=0.01)
    assert len(points) > 1


def test_a_trade_gives_another_point_of_the_front(tmp_path: Path) -> None:
    made = lampc.JointSearch(right, tokens_per_point=0.01, choices=SPACE, **OPTIONS).compile(LookUp(), trainset=ROWS)
    assert lampc.Evaluate(devset=ROWS, metric=right)(made).score == made.front[0]["score"]
    plan = lampc.JointSearch(right, choices=SPACE, **OPTIONS).dry_run(LookUp(), trainset=ROWS)
    assert str(36 * len(ROWS)) in str(plan)


def test_models_are_objects() -> None:
    silent = lampc.LM("silent", engine=lambda messages: "answer: no")
    student = LookUp()
    student.set_lm(silent)
    knows = lampc.LM("knows", engine=lambda messages: reader(messages[-1]["content"]))
    space = {"facts.store": ["archive"], "facts.k": [2], "query": ["{} height age"]}
    search = lampc.JointSearch(right, choices=space, models=[knows], **OPTIONS)
    made = search.compile(student, trainset=ROWS)
    assert made.look.lm is knows
    assert lampc.Evaluate(devset=ROWS, metric=right)(made).score == 100.0


def test_what_cannot_be_is_said_before_anything_runs() -> None:
    with pytest.raises(TypeError, match="JointSearch has no option 'trails'; there are metric"):
        lampc.JointSearch(right, trails=3)
    with pytest.raises(OptimizeError, match=r"`outside\.k` is no parameter that this module holds"):
        lampc.JointSearch(right, choices={"outside.k": [1, 2]}, **OPTIONS).compile(Outside(), trainset=ROWS)
