"""Conversations: history threaded through nested modules, grown, trimmed, saved, used as data; KV continued."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.frontend.python.conversation import token_count
from lampc.ir.runner import find_runner, set_default_runner
from lampc.ir.settings import settings
from lampc.runtime.scripted import DummyLM
from tests.python.answers import answer


class Reply(lampc.Signature):
    """Reply in the conversation."""

    question: str = lampc.InputField()
    history: lampc.History = lampc.InputField()
    reply: str = lampc.OutputField()


class Inner(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.say = lampc.ChainOfThought(Reply)

    def forward(self, question: str) -> Any:
        return self.say(question=question)


class Outer(lampc.Module):
    """Knows nothing of histories."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.title = lampc.Predict("reply -> title")

    def forward(self, question: str) -> Any:
        said = self.inner(question=question)
        return lampc.Prediction(reply=said.reply, reasoning=said.reasoning, title=self.title(reply=said.reply).title)


@pytest.fixture
def lm() -> Iterator[DummyLM]:
    model = DummyLM(answer)
    lampc.configure(lm=model)
    with settings.context(layout="chat"):
        yield model
    set_default_runner(None)


def replies(prompts: list[Any]) -> list[Any]:
    return [p for p in prompts if "Reply in the conversation." in p[0]["content"]]


def test_nested_predictors_see_what_was_said(lm: DummyLM) -> None:
    talk = lampc.Conversation(Outer())
    first = talk(question="Who?")
    talk(question="When?")
    asyncio.run(talk.acall(question="Where?"))
    assert [t["question"] for t in talk.history.messages] == ["Who?", "When?", "Where?"]
    assert talk.history.messages[0] == {"question": "Who?", "reply": first.reply, "title": first.title}
    one, two, three = replies(lm.prompts)
    assert [len(one), len(two), len(three)] == [2, 4, 6]
    assert two[2]["content"].startswith("[[ ## reasoning ## ]]") or first.reply in two[2]["content"]
    assert two[1]["content"] == one[1]["content"]
    assert three[:3] == two[:3]
    assert not any(len(p) > 2 for p in lm.prompts if p not in (one, two, three))


def test_a_history_that_is_given_counts(lm: DummyLM) -> None:
    with lampc.conversing(lampc.History(messages=[{"question": "a", "reply": "b"}])):
        Inner()(question="x")
        lampc.Predict(Reply)(question="x", history=lampc.History(messages=[]))
    lampc.Predict(Reply)(question="y")
    assert [len(p) for p in lm.prompts] == [4, 2, 2]


def test_a_turn_that_fails_is_none(lm: DummyLM) -> None:
    talk = lampc.Conversation(Outer())
    with pytest.raises(TypeError):
        talk(quest="x")
    assert len(talk) == 0


def test_old_turns_go_once_the_budget_is_spent(lm: DummyLM) -> None:
    talk = lampc.Conversation(Inner(), max_tokens=40, count=lambda text: len(text.split()))
    lengths = []
    for i in range(12):
        talk(question=f"question number {i} of several")
        lengths.append(len(talk))
        assert talk.tokens(talk.history) <= 40
    assert max(lengths) > min(lengths[4:]) >= 1
    assert talk.history.messages[-1]["question"] == "question number 11 of several"
    huge = lampc.Conversation(Inner(), max_tokens=1)
    huge(question="far too long for that budget")
    assert len(huge) == 1


def test_a_conversation_is_saved_and_goes_on(lm: DummyLM, tmp_path: Path) -> None:
    talk = lampc.Conversation(Inner())
    talk(question="Who?")
    talk.save(tmp_path / "talk.json")
    other = lampc.Conversation(Inner())
    other.load(tmp_path / "talk.json")
    assert other.history == talk.history
    other(question="When?")
    talk(question="When?")
    assert other.history == talk.history
    (tmp_path / "bad.json").write_text('{"turns": []}')
    with pytest.raises(ValueError, match=r"bad\.json: not a saved conversation"):
        talk.load(tmp_path / "bad.json")


def test_turns_are_data_for_optimizers(lm: DummyLM) -> None:
    talk = lampc.Conversation(lampc.Predict(Reply))
    for q in ("Who?", "When?", "Where?"):
        talk(question=q)
    rows = talk.examples()
    assert [r.inputs().question for r in rows] == ["Who?", "When?", "Where?"]
    assert [len(r.history) for r in rows] == [0, 1, 2]
    assert [set(r.labels().keys()) for r in rows] == [{"reply"}] * 3

    def same(example: Any, prediction: Any, trace: Any = None) -> bool:
        return bool(example.reply == prediction.reply)

    assert lampc.Evaluate(devset=rows, metric=same)(lampc.Predict(Reply)).score == 100.0
    tuned = lampc.LabeledFewShot(k=2).compile(lampc.Predict(Reply), trainset=rows)
    assert len(tuned.demos) == 2


def test_each_turn_continues_the_kv_of_the_last() -> None:
    lampc.configure(model="firefly")
    runner: Any = find_runner()
    try:
        talk = lampc.Conversation(lampc.Predict(Reply, max_tokens=12))
        costs = []
        for i in range(6):
            before = runner.root.usage
            talk(question=f"The dog number {i} saw a red car near the old house. What did it see?")
            spent = runner.root.usage - before
            costs.append((spent.prompt_tokens, spent.computed_tokens, spent.generated_tokens))
        added = [b[0] - a[0] for a, b in itertools.pairwise(costs)]
        for grown, (prompt, computed, _) in zip(added, costs[1:], strict=True):
            # what is new, and at most the block of K/V in which the last prompt ended
            assert computed <= grown + 16, (prompt, computed, grown)
        assert costs[-1][1] < costs[-1][0] / 3
        assert token_count("some words") > 0
    finally:
        lampc.configure(lm=DummyLM([]))
        set_default_runner(None)
