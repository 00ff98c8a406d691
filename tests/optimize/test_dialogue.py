"""Dialogues: a program that sees what was said before is improved like any other, and then talks better."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import InstructionSearch
from lampc.runtime.optimizers.base import improve

DATA = Path(__file__).resolve().parents[2] / "examples" / "data"
TURNS = 3


class Triage(lampc.Signature):
    """Complete the task."""

    history: lampc.History = lampc.InputField()
    text: str = lampc.InputField()
    label: Literal["network", "hardware", "billing", "account"] = lampc.OutputField()


class Colour(lampc.Signature):
    """Answer the question."""

    history: lampc.History = lampc.InputField()
    question: str = lampc.InputField()
    answer: str = lampc.OutputField()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    set_default_runner(None)
    settings.reset()


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(list(example.labels().values()) == [prediction[n] for n in example.labels().keys()])  # noqa: SIM118


def said(turns: list[dict[str, str]], asks: str) -> list[Any]:
    """A dialogue as rows, one a turn: what was said before it is an input."""
    out = []
    for i, turn in enumerate(turns):
        history = lampc.History(messages=turns[:i])
        out.append(lampc.Example(history=history, **turn).with_inputs("history", asks))
    return out


# -- on the bundled model ----------------------------------------------------------------------------------


def dialogues(split: str, n: int) -> list[list[dict[str, str]]]:
    """Messages of one customer each, with the team that each message is for."""
    with (DATA / "01_tickets.csv").open(encoding="utf-8") as file:
        own = [{"text": r["text"], "label": r["label"]} for r in csv.DictReader(file) if r["split"] == split]
    return [own[at : at + TURNS] for at in range(0, n * TURNS, TURNS)]


def live(program: Any, dialogue: list[dict[str, str]]) -> int:
    """Right answers of a conversation in which the program's own answers are what was said."""
    talk = lampc.Conversation(program)
    return sum(talk(text=turn["text"]).label == turn["label"] for turn in dialogue)


def test_a_dialogues_metric_rises_under_an_optimizer() -> None:
    lampc.configure(model="firefly")
    train, dev, test = (
        [r for d in dialogues(s, n) for r in said(d, "text")] for s, n in (("train", 2), ("dev", 6), ("test", 6))
    )
    evaluate = lampc.Evaluate(devset=test, metric=right)
    student = lampc.Predict(Triage)
    before = evaluate(student)
    found = improve(
        student, InstructionSearch(pool=str(DATA / "01_pool.txt")), trainset=train, valset=dev, metric=right
    )
    after = evaluate(found.module)
    assert before.score < 25.0 < 90.0 < after.score
    assert (found.result.score_before or 0.0) < (found.result.score_after or 0.0)
    for turn in range(TURNS):  # not the first turn alone, nor the last
        assert sum(bool(s) for *_, s in after.results[turn::TURNS]) > sum(
            bool(s) for *_, s in before.results[turn::TURNS]
        )
    spoken = dialogues("test", 5)
    assert sum(live(found.module, d) for d in spoken) > sum(live(student, d) for d in spoken) + TURNS * 2


# -- where the answer is in what was said --------------------------------------------------------------------

THINGS = {"boat": "red", "lamp": "green", "door": "blue", "book": "black", "cup": "white", "hat": "grey"}


def reply(messages: list[dict[str, str]]) -> str:
    """Looks a thing up in the turn before, if demos have shown that this is wanted; else it says what it is asked."""
    field = "[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]"
    questions = [i for i, m in enumerate(messages) if m["role"] == "user"]
    asked = messages[-1]["content"]
    if "it?" not in asked:
        return field.format("noted")
    shown = sum("colour is it?" in messages[i]["content"] for i in questions[:-1])
    before = messages[-3]["content"] if len(messages) > 3 else ""
    thing = next((t for t in THINGS if f"a {t}" in before), "")
    return field.format(THINGS[thing] if thing and shown >= 2 else "it")


class Looks(lampc.BaseLM):
    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        return reply(messages)


def about(thing: str) -> list[dict[str, str]]:
    return [
        {"question": f"I have a {thing}.", "answer": "noted"},
        {"question": "What colour is it?", "answer": THINGS[thing]},
    ]


def test_demos_teach_a_program_to_look_back() -> None:
    lampc.configure(lm=Looks("looks", cache=False), adapter=lampc.ChatAdapter())
    rows = {t: said(about(t), "question") for t in THINGS}
    train = [r for t in list(THINGS)[:4] for r in rows[t]]
    test = [r for t in list(THINGS)[4:] for r in rows[t]]
    student = lampc.Predict(Colour)
    optimizer = lampc.BootstrapRS(right, num_candidate_programs=3, max_bootstrapped_demos=2, max_labeled_demos=6)
    made = optimizer.compile(student, trainset=train)
    evaluate = lampc.Evaluate(devset=test, metric=right)
    assert (evaluate(student).score, evaluate(made).score) == (50.0, 100.0)
    talk = lampc.Conversation(made)
    talk(question="I have a cup.")
    assert talk(question="What colour is it?").answer == "white"
    grown = talk.examples()  # what was said is rows for the next round
    assert [len(r.history.messages) for r in grown] == [0, 1]
    assert evaluate(made, devset=grown).score == 100.0
