"""Histories in compiled programs: the turns that a call sends are those of the adapter, token by token."""

from __future__ import annotations

from typing import Any

import pytest

import lampc
from lampc.frontend.python.tracing import trace
from lampc.ir.adapters import adapter, bind_predictors, bind_prompt
from lampc.runtime.scripted import DummyLM
from lampc.runtime.session import Session
from lampc.runtime.types import Row

TURNS = [{"question": "is red a colour", "answer": "yes"}, {"question": "is seven one", "answer": "no"}]


class Ask(lampc.Signature):
    """Answer yes or no."""

    history: lampc.History = lampc.InputField()
    question: str = lampc.InputField()
    answer: str = lampc.OutputField()


class Chatting(lampc.Module):
    def __init__(self, layout: str) -> None:
        super().__init__()
        self.ask = lampc.Predict(Ask, layout=layout, max_tokens=8)

    def forward(self, history: lampc.History, question: str) -> Any:
        return self.ask(history=history, question=question)


ROWS = [Row(str(n), {"history": {"messages": TURNS[:n]}, "question": "is blue one"}) for n in range(3)]


@pytest.mark.parametrize("layout", ["compact", "chat", "json", "xml"])
def test_a_compiled_call_sends_the_turns_of_its_history(layout: str) -> None:
    unit = trace(Chatting(layout))
    assert unit.dynamic is None
    (bound,) = bind_predictors(unit.module).values()
    prompt = adapter(layout).render(bound.signature, bound.name)
    with Session(model="firefly") as session:
        session.run(unit, ROWS)
        model = session.models.get("main")
        sent = list(session.desk.books.prompts)
    assert model.target.tokens is not None
    for row in ROWS:
        turns = bind_prompt(prompt, bound, [row.inputs["history"], row.inputs["question"]], model.target.quote)
        shown = [role for role, _ in turns]
        assert shown[:-1] == ["system"] + ["user", "assistant"] * len(row.inputs["history"]["messages"])
        assert tuple(model.target.tokens.encode(model.target.render_chat(turns))) in sent


def test_a_conversation_through_an_endpoint_has_the_messages_of_the_adapter() -> None:
    lm = DummyLM(lambda messages: "[[ ## answer ## ]]\nyes")
    with lampc.context(lm=lm):
        program = Chatting("chat")
        assert program(history=lampc.History(messages=TURNS), question="is blue one").answer == "yes"
        unit = trace(program)
        with Session(model=lm) as session:
            session.run(unit, ROWS)
    wanted = lampc.ChatAdapter().format(Ask, [], {"history": lampc.History(messages=TURNS), "question": "is blue one"})
    assert lm.prompts[0] == wanted
    assert wanted in lm.prompts[1:]
