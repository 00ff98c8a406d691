"""Endpoints beyond one text for another: streams, tools, several answers, rate limits, prices, embeddings."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from lampc.ir.errors import LMRateLimitError, LMStreamAssemblyError, LMTimeoutError, LMUnexpectedError
from lampc.runtime.providers import ChatAnswer, OpenAIClient, Price
from lampc.runtime.providers.limits import Bucket, RateLimit, expected_tokens
from lampc.runtime.providers.prices import price_of
from tests.runtime.loopback import Loopback, Reply, events, failure

ASK = [{"role": "user", "content": "hi there"}]
FORM = {"type": "json_object"}
END = {"choices": [{"delta": {}, "finish_reason": "stop"}], "model": "m"}
USAGE = {
    "choices": [],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
}


def client(server: Loopback, **options: Any) -> OpenAIClient:
    return OpenAIClient(server.url, "loop", **{"backoff": 0.01, **options})


def echo(messages: Any) -> str:
    return str(messages[-1]["content"]).upper()


def test_a_stream_gives_pieces_then_the_whole() -> None:
    with Loopback(echo, script=[events("He", "llo", END, USAGE)]) as server, client(server) as c:
        *pieces, last = c.stream(ASK, temperature=0.5)
    assert pieces == ["He", "llo"]
    assert last == ChatAnswer("Hello", 5, 3, "stop", "m", 4)
    assert server.requests[0]["stream"] is True


def test_a_stream_of_a_tool_call() -> None:
    def piece(**call: Any) -> dict[str, Any]:
        return {"choices": [{"delta": {"tool_calls": [{"index": 0, **call}]}}]}

    script = events(
        piece(id="c1", function={"name": "add", "arguments": '{"a"'}),
        piece(function={"arguments": ": 1}"}),
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    )
    with Loopback(echo, script=[script]) as server, client(server) as c:
        (answer,) = c.stream(ASK)
    assert isinstance(answer, ChatAnswer)
    assert answer.tool_calls == (
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
    )


def test_a_server_that_does_not_stream_is_no_trouble() -> None:
    with Loopback(echo) as server, client(server) as c:
        *pieces, answer = c.stream(ASK)
    assert (pieces, answer.text) == (["HI THERE"], "HI THERE")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (events("He", done=False), "ended before the answer did"),
        (events("He", {"error": {"message": "out of memory"}}), r"broke off \(out of memory\)"),
    ],
)
def test_a_stream_that_breaks_is_an_error_with_what_had_come(script: Reply, said: str) -> None:
    with (
        Loopback(echo, script=[script]) as server,
        client(server) as c,
        pytest.raises(LMStreamAssemblyError, match=said) as caught,
    ):
        list(c.stream(ASK))
    assert caught.value.partial == "He"
    assert len(server.requests) == 1, "what was begun to be shown is not asked for again"


def test_a_stream_is_tried_again_as_long_as_nothing_came() -> None:
    with Loopback(echo, script=[failure(503), events("x", END)]) as server, client(server) as c:
        assert [p for p in c.stream(ASK) if isinstance(p, str)] == ["x"]
    assert len(server.requests) == 2


def test_a_stream_left_early_gives_its_connection_back() -> None:
    with Loopback(echo, script=[events(*"abc", END)] * 3) as server, client(server, max_concurrency=1) as c:
        for _ in range(3):
            for piece in c.stream(ASK):
                assert piece == "a"
                break
        assert c.complete(ASK).text == "HI THERE"


def test_tools_formats_and_several_answers_travel() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    reply = {
        "choices": [
            {
                "message": {"content": None, "tool_calls": [call], "reasoning_content": "hm"},
                "finish_reason": "tool_calls",
            },
            {"message": {"content": "b"}, "finish_reason": "stop"},
        ]
    }
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}
    with Loopback(echo, script=[Reply(200, reply)]) as server, client(server, body={"user": "u"}) as c:
        answer = c.complete(
            [image], n=2, tools=tools, response_format={"type": "json_object"}, parallel_tool_calls=None
        )
    assert (answer.tool_calls, answer.reasoning, answer.finish) == ((call,), "hm", "tool_calls")
    assert [a.text for a in answer.choices] == ["", "b"]
    body = {"model": "loop", "messages": [image], "user": "u", "n": 2, "tools": tools, "response_format": FORM}
    assert server.requests[0] == body


def test_a_model_that_refuses_a_temperature_is_asked_without() -> None:
    refusal = failure(400, "Unsupported value: 'temperature' does not support 0.0 with this model.")
    with Loopback(echo, script=[refusal]) as server, client(server) as c:
        assert c.complete(ASK, temperature=0.0).text == "HI THERE"
    assert "temperature" not in server.requests[-1]


def test_embeddings_stand_in_the_order_of_their_texts() -> None:
    with Loopback(echo) as server, client(server) as c:
        assert c.embed(["a", "bbb"]) == [[1.0, 1.0], [3.0, 1.0]]


def test_an_event_loop_of_the_callers_may_wait() -> None:
    async def all_of_them(c: OpenAIClient) -> list[str]:
        return [a.text for a in await asyncio.gather(*(c.acomplete(ASK) for _ in range(20)))]

    with Loopback(echo, seconds=0.02) as server, client(server) as c:
        assert asyncio.run(all_of_them(c)) == ["HI THERE"] * 20
        assert server.peak > 4


def test_errors_carry_what_the_server_said() -> None:
    script = [failure(429, "slow down", "rate_limited", retry_after="0.01", x_request_id="r7")]
    with (
        Loopback(echo, script=script) as server,
        client(server, max_retries=0) as c,
        pytest.raises(LMRateLimitError) as caught,
    ):
        c.complete(ASK)
    e = caught.value
    assert (e.status, e.retry_after, e.request_id, e.provider_code, e.model) == (
        429,
        0.01,
        "r7",
        "rate_limited",
        "loop",
    )


def test_a_slow_stream_times_out() -> None:
    with (
        Loopback(echo, script=[Reply(seconds=5)]) as server,
        client(server, timeout=0.2, max_retries=0) as c,
        pytest.raises(LMTimeoutError),
    ):
        list(c.stream(ASK))


@pytest.mark.parametrize(
    ("reply", "said"), [({"data": [{"index": 0}]}, "holds no embeddings"), ({"data": []}, "0 embeddings for 1 texts")]
)
def test_not_an_embedding(reply: dict[str, Any], said: str) -> None:
    with (
        Loopback(echo, script=[Reply(200, reply)]) as server,
        client(server) as c,
        pytest.raises(LMUnexpectedError, match=said),
    ):
        c.embed(["x"])


# -- limits and prices ------------------------------------------------------------------------------------


def test_a_rate_limit_holds_calls_back_and_keeps_their_order() -> None:
    with Loopback(echo) as server, client(server, requests_per_minute=1200) as c:
        begun = time.monotonic()
        futures = [c.submit([{"role": "user", "content": f"n{i}"}]) for i in range(30)]
        assert [f.result().text for f in futures] == [f"N{i}" for i in range(30)]
        took = time.monotonic() - begun
    # 20 a second with a burst of 21: the other 9 or so wait for their turn
    assert 0.3 < took < 5
    late = {r["messages"][0]["content"] for r in server.requests[-5:]}
    assert late <= {f"n{i}" for i in range(20, 30)}, "those that came last had to wait"


def test_a_bucket_in_debt_waits_and_is_corrected() -> None:
    now = [0.0]
    limit = RateLimit(tokens=600, clock=lambda: now[0])  # 10 a second, 100 at once
    assert limit
    assert limit.wait() == 0
    limit.take(150)
    assert limit.wait() == pytest.approx(5.0)
    limit.correct(150, 120)  # thirty of them were not used
    assert limit.wait() == pytest.approx(2.0)
    now[0] += 2.0
    assert limit.wait() == pytest.approx(0.0)
    assert not RateLimit()
    with pytest.raises(ValueError, match="must be positive"):
        Bucket(-1)


def test_expected_tokens_look_at_text_alone() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "x" * 40}, {"type": "image_url"}]}
    assert expected_tokens([{"role": "system", "content": "y" * 40}, parts], 7) == 27


def test_costs_by_a_table_of_the_users() -> None:
    assert Price(2.0, 8.0, 1.0).cost(1_000_000, 500_000, 500_000) == pytest.approx(1.0 + 0.5 + 4.0)
    assert price_of((1, 2)) == Price(1.0, 2.0)
    assert price_of({"prompt": 1.0, "completion": 2.0}) == Price(1.0, 2.0)
    with pytest.raises(ValueError, match="a price is"):
        price_of("cheap")
    for wrong in ((-1, 2), (1, float("inf")), (1, 2, float("nan"))):
        with pytest.raises(ValueError, match="not below 0"):
            price_of(wrong)
