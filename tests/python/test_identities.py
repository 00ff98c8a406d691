"""Metrics and programs that hold different things are different, in one process and across them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

import lampc
from lampc.runtime.host_sources import code_identity

ROWS = [lampc.Example(question=f"q{i}", answer="yes").with_inputs("question") for i in range(4)]
LIMIT = 1.0


class Judge:
    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted

    def score(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        return prediction.answer in self.wanted

    __call__ = score


class Prefix:
    def __init__(self, word: str) -> None:
        self.word = word


class Held(lampc.Module):
    def __init__(self, word: str) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")
        self.prefix = Prefix(word)

    def forward(self, question: str) -> Any:
        return self.ask(question=self.prefix.word + question)


def near(example: Any, prediction: Any, trace: Any = None, *, wanted: str = "yes") -> bool:
    return bool(prediction.answer == wanted)


def closing(wanted: Any) -> Callable[..., bool]:
    return lambda example, prediction, trace=None: prediction.answer == dict(wanted)["is"]


def limited(example: Any, prediction: Any, trace: Any = None) -> bool:
    return LIMIT < 2 and prediction.answer == "yes"


def model(messages: list[dict[str, str]]) -> str:
    said = "no" if "never" in messages[-1]["content"] else "yes"
    return f"[[ ## answer ## ]]\n{said}\n\n[[ ## completed ## ]]"


def best(program: lampc.Module, metric: Any) -> float:
    search = lampc.BootstrapFewShotWithRandomSearch(
        metric=metric, max_bootstrapped_demos=1, max_labeled_demos=1, num_candidate_programs=1
    )
    with lampc.context(lm=lampc.LM("m", engine=model, cache=False)):
        made = search.compile(program, trainset=ROWS, valset=ROWS)
    return float(made.candidate_programs[0]["score"])


PAIRS: list[tuple[Any, Any]] = [
    (Judge(["yes"]).score, Judge(["no"]).score),
    (Judge(["yes"]), Judge(["no"])),
    (Judge({"yes": lambda: 1}), Judge({"no": lambda: 1})),
    (functools.partial(near, wanted="yes"), functools.partial(near, wanted="no")),
    (closing((("is", "yes"),)), closing((("is", "no"),))),
]


@pytest.mark.parametrize(("right", "wrong"), PAIRS)
def test_metrics_that_differ_in_what_they_hold_are_asked_each(right: Any, wrong: Any) -> None:
    assert code_identity(right) != code_identity(wrong)
    assert best(Held("now "), right) == 100.0
    assert best(Held("now "), wrong) == 0.0


def test_what_changes_between_two_compiles_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"is": "yes"}
    metric, before = closing(wanted), code_identity(limited)
    assert best(Held("now "), metric) == 100.0
    wanted["is"] = "no"
    assert best(Held("now "), metric) == 0.0
    monkeypatch.setattr("tests.python.test_identities.LIMIT", 3.0)
    assert code_identity(limited) != before


def test_programs_that_hold_other_objects_are_other_programs() -> None:
    assert best(Held("now "), near) == 100.0
    assert best(Held("never "), near) == 0.0


def test_equal_things_are_equal() -> None:
    for make in (
        lambda: Judge(["yes"]).score,
        lambda: functools.partial(near, wanted="x"),
        lambda: closing({"is": "a"}),
    ):
        assert code_identity(make()) == code_identity(make())
    held = Judge(["yes"])
    held.wanted = [held]
    assert code_identity(held) == code_identity(held)


def test_code_that_python_does_not_show_has_an_identity_of_its_own() -> None:
    assert code_identity(max) != code_identity(min)
    assert code_identity(functools.partial(max, 1)) != code_identity(functools.partial(max, 2))
    one, other = object(), object()
    assert code_identity(one) != code_identity(other)
