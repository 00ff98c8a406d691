"""Streams: fields out of answers under way, status, on our engine, an endpoint and a scripted model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

import lampc
from lampc.ir import Demo, Field, Signature, freeze
from lampc.ir.adapters import adapter
from lampc.ir.runner import set_default_runner
from lampc.ir.types import STR, ListOf
from lampc.runtime.scripted import DummyLM
from lampc.runtime.streaming_fields import FieldPieces
from lampc.streaming import StatusMessage, StatusMessageProvider, StreamListener, StreamResponse, streaming_response
from tests.runtime.loopback import Loopback, events

VALUES = [
    "plain", "two\nlines", "a [[ ## not a mark", "[[ ##", "ends with brackets [[", "<b>tags</b> & signs",
    'quoted "text"', "back\\slash\\n", "umlaut äöü 😀", "other: looks like a name", "1 < 2 > 0", "a\n\nb\n\n\nc",
    "tab\tand { braces }",
]  # fmt: skip


@pytest.mark.parametrize("layout", ["chat", "json", "xml", "compact"])
@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_a_field_are_its_parsed_value(layout: str, seed: int) -> None:
    rng = random.Random(seed)
    fields = (Field("first", STR), Field("answer", STR), Field("last", ListOf(STR) if seed % 2 else STR))
    signature = Signature((Field("q", STR),), fields)
    how = adapter(layout)
    for value in VALUES:
        values = {"q": "x", "first": rng.choice(VALUES), "answer": value, "last": ["z"] if seed % 2 else "z"}
        text = how.demo(signature, Demo(freeze(values)))[-1][1]
        try:
            wanted = how.parse(signature, text)["answer"]
        except Exception:
            continue  # values that hold the layout's own marks are read as marks
        pieces = FieldPieces(layout, "answer", [f.name for f in fields])
        got, at = "", 0
        while at < len(text):
            n = rng.randint(1, 9)
            got += pieces.push(text[at : at + n])
            assert wanted.startswith(got.rstrip()) or got == wanted, (value, got, wanted)
            at += n
        assert got + pieces.end() == wanted


def test_layouts_without_marks_are_refused() -> None:
    with pytest.raises(ValueError, match="no marks"):
        FieldPieces("two_step", "answer", ["answer"])


@pytest.fixture
def lm() -> Iterator[DummyLM]:
    model = DummyLM(lambda m: {"reasoning": "First this, then that.", "answer": "the long\n\nanswer"})
    lampc.configure(lm=model)
    yield model
    set_default_runner(None)


async def collect(streamed: Any) -> list[Any]:
    return [item async for item in streamed]


class Steps(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = lampc.ChainOfThought("question -> answer")
        self.say = lampc.Predict("answer -> reply")

    def forward(self, question: str) -> Any:
        return self.say(answer=self.think(question=question).answer)


def script(messages: list[dict[str, str]]) -> dict[str, str]:
    if "`reply`" in messages[0]["content"]:
        return {"reply": "So be it, then."}
    return {"reasoning": "First this, then that.", "answer": "the long\n\nanswer"}


def joined(items: list[Any], name: str) -> str:
    return "".join(i.chunk for i in items if isinstance(i, StreamResponse) and i.signature_field_name == name)


def test_fields_come_in_pieces_and_the_prediction_at_the_end() -> None:
    lampc.configure(lm=DummyLM(script))
    steps = Steps()
    listeners = [
        StreamListener("reasoning"),
        StreamListener("answer", predict=steps.think.predict),
        StreamListener("reply"),
    ]
    items = asyncio.run(collect(lampc.streamify(steps, stream_listeners=listeners)(question="why?")))
    assert [joined(items, n) for n in ("reasoning", "answer", "reply")] == [
        "First this, then that.", "the long\n\nanswer", "So be it, then.",
    ]  # fmt: skip
    chunks = [i for i in items if isinstance(i, StreamResponse)]
    assert len(chunks) > 6
    assert [i.signature_field_name for i in chunks if i.is_last_chunk] == ["reasoning", "answer", "reply"]
    assert {i.predict_name for i in chunks} == {"think.predict", "say"}
    assert items[-1].reply == "So be it, then."
    set_default_runner(None)


def test_without_listeners_all_text_comes(lm: DummyLM) -> None:
    items = asyncio.run(collect(lampc.streamify(lampc.ChainOfThought("question -> answer"))(question="why?")))
    assert "[[ ## answer ## ]]" in joined(items, "")
    assert items[-1].answer == "the long\n\nanswer"


def test_plain_code_iterates_too(lm: DummyLM) -> None:
    program = lampc.streamify(
        lampc.ChainOfThought("question -> answer"), stream_listeners=[StreamListener("answer")], async_streaming=False,
        include_final_prediction_in_output_stream=False,
    )  # fmt: skip
    items = list(program(question="why?"))
    assert joined(items, "answer") == "the long\n\nanswer"
    assert all(isinstance(i, StreamResponse) for i in items)


def test_what_a_listener_means_must_be_clear(lm: DummyLM) -> None:
    two = Steps()
    two.other = lampc.Predict("q -> reply")
    with pytest.raises(ValueError, match="2 predictors have an output `reply`"):
        lampc.streamify(two, stream_listeners=[StreamListener("reply")])
    with pytest.raises(ValueError, match="no predictor has an output `missing`"):
        lampc.streamify(two, stream_listeners=[StreamListener("missing")])
    lampc.streamify(two, stream_listeners=[StreamListener("reply", predict_name="other")])


class Loop(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        for i in range(2):
            pred = self.ask(question=f"{question} {i}")
        return pred


@pytest.mark.parametrize("reuse", [False, True])
def test_a_listener_hears_one_call_or_all(lm: DummyLM, reuse: bool) -> None:
    listener = StreamListener("answer", allow_reuse=reuse)
    items = asyncio.run(collect(lampc.streamify(Loop(), stream_listeners=[listener])(question="x")))
    assert joined(items, "answer") == "the long\n\nanswer" * (2 if reuse else 1)


def test_errors_of_the_program_come_out() -> None:
    def broken(messages: Any) -> str:
        raise ValueError("no model")

    lampc.configure(lm=DummyLM(broken))
    with pytest.raises(Exception, match="no model"):
        asyncio.run(collect(lampc.streamify(Steps())(question="x")))
    with pytest.raises(Exception, match="no model"):
        list(lampc.streamify(Steps(), async_streaming=False)(question="x"))
    set_default_runner(None)


def add(a: int, b: int) -> int:
    return a + b


class Said(StatusMessageProvider):
    def module_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str:
        return f"module {type(instance).__name__}"

    def lm_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str:
        return f"asking {instance.model}"

    def tool_end_status_message(self, outputs: Any) -> str:
        return f"got {outputs}"


def test_status_tells_of_modules_models_and_tools() -> None:
    answers = [
        {"next_thought": "t", "next_tool_name": "add", "next_tool_args": {"a": 1, "b": 2}},
        {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}},
        {"reasoning": "r", "answer": "3"},
    ]
    lampc.configure(lm=DummyLM(answers))
    agent = lampc.ReAct("question -> answer", tools=[add])
    program = lampc.streamify(agent, status_message_provider=Said(), stream_listeners=[StreamListener("answer")])
    items = asyncio.run(collect(program(question="1 + 2")))
    told = [i.message for i in items if isinstance(i, StatusMessage)]
    assert told[:5] == ["module ReAct", "module Predict", "asking dummy", "Calling tool add...", "got 3"]
    assert sum("Calling tool" in t for t in told) == 1
    set_default_runner(None)


def test_server_sent_events(lm: DummyLM) -> None:
    program = lampc.streamify(lampc.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])

    async def run() -> list[str]:
        return [line async for line in streaming_response(program(question="x"))]

    lines = asyncio.run(run())
    assert lines[-1] == "data: [DONE]\n\n"
    assert '"prediction": {"answer": "the long\\n\\nanswer"}' in lines[-2]
    assert '"signature_field_name": "answer"' in lines[0]


def test_an_endpoint_streams() -> None:
    pieces = ["[[ ## answer ## ]]\nIt", " is", " tea", ".\n\n[[ ## comp", "leted ## ]]"]
    end = {"object": "chat.completion.chunk", "choices": [{"delta": {}, "finish_reason": "stop"}]}
    with Loopback(lambda messages: "unused", script=[events(*pieces, end)]) as server:
        lampc.configure(lm=lampc.LM("openai/loop", api_base=server.url, api_key="none", cache=False))
        program = lampc.streamify(lampc.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
        items = asyncio.run(collect(program(question="what?")))
        lampc.configure(lm=DummyLM([]))
    assert joined(items, "answer") == "It is tea."
    assert len(items) > 3
    assert items[-1].answer == "It is tea."
    assert server.requests[0]["stream"] is True


def test_our_engine_streams_what_it_answers() -> None:
    lampc.configure(model="firefly")
    ask = lampc.Predict("text -> summary", max_tokens=24)
    program = lampc.streamify(ask, stream_listeners=[StreamListener("summary")])
    items = asyncio.run(collect(program(text="The dog saw a red car. The cat slept.")))
    chunks = [i for i in items if isinstance(i, StreamResponse)]
    assert "".join(c.chunk for c in chunks) == items[-1].summary != ""
    assert chunks[-1].is_last_chunk
    lampc.configure(lm=DummyLM([]))
    set_default_runner(None)
