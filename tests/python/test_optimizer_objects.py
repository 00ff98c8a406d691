"""Programs, metrics and demos see the user's own objects while an optimizer runs, as in DSPy."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import dspy
import pydantic
import pytest

import lampc
from lampc.passes.optimize import RandomSearch
from lampc.runtime.optimizers.base import improve
from tests.python.scripted import asked, configured, outputs, scripted

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")
BOTH = pytest.mark.parametrize("d", [lampc, dspy], ids=["lampc", "dspy"])


class Person(pydantic.BaseModel):
    name: str
    born: datetime.date = datetime.date(2020, 1, 1)


class Opaque:
    """What has no JSON."""

    def __init__(self) -> None:
        self.locked = lambda: None


def reply(messages: list[dict[str, str]], options: dict[str, Any]) -> dict[str, str]:
    question = asked(messages, "question")
    person = json.dumps({"name": question, "born": "2020-01-01"})
    return {name: person if name == "person" else question for name in outputs(messages)}


def typed(d: Any) -> Any:
    class Find(d.Signature):  # type: ignore[misc]
        """Find the person."""

        friend: Person = d.InputField()
        question: str = d.InputField()
        person: Person = d.OutputField()

    class Finds(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.find = d.Predict(Find)

        def forward(self, friend: Any, question: Any) -> Any:
            assert isinstance(friend, Person)
            return self.find(friend=friend, question=question)

    return Finds()


def loose(d: Any) -> Any:
    """Returns objects that no signature knows."""

    class Loose(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ask = d.Predict("question -> answer")

        def forward(self, question: Any) -> Any:
            answer = self.ask(question=question).answer
            return d.Prediction(answer=answer, docs=[Person(name="d")], pair=(1, 2), opaque=Opaque())

    return Loose()


@BOTH
def test_pydantic_inputs_labels_outputs_and_demos(d: Any) -> None:
    friend = Person(name="f")
    rows = [
        d.Example(friend=friend, question=f"q{i}", person=Person(name=f"q{i}")).with_inputs("friend", "question")
        for i in range(4)
    ]
    seen: list[Any] = []

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        if trace is not None:
            seen.append(trace[0][1]["friend"])
        return bool(example.person == prediction.person and prediction.person.born.year == 2020)

    with configured(d, scripted(d, reply)):
        made = d.BootstrapFewShot(metric, max_bootstrapped_demos=2, max_labeled_demos=3).compile(
            typed(d), trainset=rows
        )
    assert seen == [friend, friend]
    demos = made.find.demos
    assert [x.get("augmented", False) for x in demos] == [True, True, False]
    assert all(isinstance(x.person, Person) and isinstance(x.friend, Person) for x in demos)


@BOTH
@pytest.mark.parametrize("log", [False, True], ids=["memory", "disk"])
def test_a_metric_gets_the_example_and_what_was_returned(d: Any, log: bool, tmp_path: Path) -> None:
    class Row(d.Example):  # type: ignore[misc]
        def gold(self) -> str:
            return str(self.answer)

    values = {"when": datetime.date(2020, 1, 1), "tags": {1, 2}, "pair": (1, 2), "opaque": Opaque()}
    rows = [Row(question=f"q{i}", answer=f"q{i}", **values).with_inputs("question") for i in range(4)]
    mine, seen = {id(r) for r in rows}, []

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        seen.append(id(example) in mine)
        assert example.when.year == 2020
        assert example.tags == {1, 2}
        assert isinstance(prediction.opaque, Opaque)
        assert isinstance(prediction.docs[0], Person)
        return bool(example.gold() == prediction.answer and prediction.pair == example.pair)

    more: dict[str, Any] = {"trainset": rows[:2], "valset": rows[2:]}
    for _ in range(2):
        with configured(d, scripted(d, reply)):
            search = d.BootstrapFewShotWithRandomSearch(metric, num_candidate_programs=1, max_bootstrapped_demos=1)
            if log and d is lampc:
                strategy = RandomSearch(num_candidate_programs=1)
                found = improve(loose(d), strategy, **more, metric=metric, log_dir=tmp_path)
                assert found.result.score_after == 100.0
            else:
                made = search.compile(loose(d), **more)
                assert {c["score"] for c in made.candidate_programs} == {100.0}
    assert all(seen)


@BOTH
def test_rows_that_are_equal_keep_their_own_example(d: Any) -> None:
    rows = [d.Example(question="q", answer="q").with_inputs("question") for _ in range(3)]
    seen: set[int] = set()

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        seen.add(id(example))
        return True

    with configured(d, scripted(d, reply)):
        d.BootstrapFewShotWithRandomSearch(metric, num_candidate_programs=1, max_bootstrapped_demos=1).compile(
            loose(d), trainset=rows[:1], valset=rows[1:]
        )
    assert {id(r) for r in rows} == seen
