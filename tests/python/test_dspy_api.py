"""DSPy's names over a session: configure, batch, Evaluate, optimizers; dynamic programs in a session."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python import trace
from lampc.ir.runner import NoSession, set_default_runner
from lampc.runtime.session import Session
from lampc.runtime.types import Row


def answer(prompt: str) -> str:
    """The word backwards; wrong for words of even length unless a demo shows how."""
    word = re.findall(r"text: (\w+)", prompt)[-1]
    if word == "mute":
        return "nothing"
    shown = prompt.count("label: ") > 1
    return f"label: {word[::-1] if shown or len(word) % 2 else word}\nsize: {len(word)}"


@pytest.fixture(autouse=True)
def model() -> Iterator[None]:
    lampc.configure(model=FakeEngine(reply=answer))
    yield
    set_default_runner(None)


class Backwards(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.turn = lampc.Predict("text -> label, size: int")

    def forward(self, text: str) -> lampc.Prediction:
        return lampc.Prediction(label=self.turn(text=text).label)


def exact(example: lampc.Example, prediction: lampc.Prediction, trace: Any = None) -> bool:
    return bool(example.label == prediction.label)


def examples(*words: str) -> list[lampc.Example]:
    return [lampc.Example(text=w, label=w[::-1], size=len(w)).with_inputs("text") for w in words]


WORDS = examples("abc", "ab", "abcde", "abcd")


def test_plain_calls() -> None:
    assert lampc.Predict("text -> label, size: int")(text="abc").label == "cba"
    assert Backwards()(text="abc").label == "cba"


def test_batch() -> None:
    found = Backwards().batch(examples("abc", "mute", "xyz"))
    assert [p and p.label for p in found] == ["cba", None, "zyx"]
    done, failed, errors = Backwards().batch(examples("abc", "mute"), return_failed_examples=True)
    assert (len(done), [e.text for e in failed], len(errors)) == (2, ["mute"], 1)


def test_evaluate(tmp_path: Path) -> None:
    to = tmp_path / "results.json"
    found = lampc.Evaluate(devset=WORDS, metric=exact, save_as_json=str(to))(Backwards())
    assert found.score == 50.0
    assert [s for _, _, s in found.results] == [1.0, 0.0, 1.0, 0.0]
    assert found.results[0][1].label == "cba"
    assert json.loads(to.read_text())[0] == {
        "text": "abc",
        "example_label": "cba",
        "size": 3,
        "pred_label": "cba",
        "exact": True,
    }


def test_evaluate_loses_nothing_to_errors() -> None:
    rows = examples("abc", "mute")
    assert lampc.Evaluate(devset=rows, metric=exact)(Backwards()).score == 50.0
    with pytest.raises(RuntimeError, match="1 of 2 rows failed"):
        lampc.Evaluate(devset=rows, metric=exact, max_errors=1)(Backwards())
    with pytest.raises(ValueError, match="at least one example"):
        lampc.Evaluate(devset=[], metric=exact)(Backwards())


def test_labeled_few_shot() -> None:
    student = Backwards()
    made = lampc.LabeledFewShot(k=2).compile(student, trainset=WORDS)
    assert len(made.turn.demos) == 2
    assert student.turn.demos == []
    assert lampc.Evaluate(devset=WORDS, metric=exact)(made).score == 100.0


def test_bootstrap_few_shot() -> None:
    optimizer = lampc.BootstrapFewShot(metric=exact, max_bootstrapped_demos=2, max_labeled_demos=2)
    made = optimizer.compile(Backwards(), trainset=WORDS)
    assert [d.get("augmented") for d in made.turn.demos] == [True, True]
    assert lampc.Evaluate(devset=WORDS, metric=exact)(made).score == 100.0


def test_compiled_state_is_saved_and_loaded(tmp_path: Path) -> None:
    made = lampc.LabeledFewShot(k=2).compile(Backwards(), trainset=WORDS)
    made.save(tmp_path / "state.json")
    other = Backwards()
    other.load(tmp_path / "state.json")
    assert lampc.Evaluate(devset=WORDS, metric=exact)(other).score == 100.0


def test_a_bare_predictor_is_evaluated() -> None:
    assert lampc.Evaluate(devset=WORDS, metric=exact)(lampc.Predict("text -> label, size: int")).score == 50.0


class Guarded(lampc.Module):
    """Cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = lampc.Predict("text -> label, size: int")

    def forward(self, text: str) -> lampc.Prediction:
        try:
            return lampc.Prediction(label=self.turn(text=text).label)
        except Exception as e:
            return lampc.Prediction(label=f"no answer: {type(e).__name__}")


def test_dynamic_programs_run_in_a_session() -> None:
    unit = trace(Guarded())
    assert unit.dynamic is not None
    with Session(model=FakeEngine(reply=answer)) as session:
        rows = [Row(str(i), {"text": w}) for i, w in enumerate(["abc", "mute", "xyz"])]
        outcomes = session.run(unit, rows)
        assert [o.value and o.value["label"] for o in outcomes] == ["cba", "no answer: UnreadableAnswer", "zyx"]
        assert session.usage.calls == 3
    assert lampc.Evaluate(devset=WORDS, metric=exact)(Guarded()).score == 50.0
    made = lampc.BootstrapFewShot(metric=exact, max_bootstrapped_demos=2, max_labeled_demos=2).compile(
        Guarded(), trainset=WORDS
    )
    assert lampc.Evaluate(devset=WORDS, metric=exact)(made).score == 100.0


def test_context_is_inside_only() -> None:
    with lampc.context(model=FakeEngine(reply=lambda prompt: "label: other\nsize: 1")):
        assert Backwards()(text="abc").label == "other"
    assert Backwards()(text="xyz").label == "zyx"


def test_nothing_configured() -> None:
    lampc.settings.reset()
    with pytest.raises(NoSession, match="Evaluate: no model is set"):
        lampc.Evaluate(devset=WORDS, metric=exact)(Backwards())
    lampc.settings.reset()
    with pytest.raises(NoSession, match="no model is set"):
        Backwards()(text="abc")
