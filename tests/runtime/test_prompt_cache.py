"""Prompt caches of endpoints: rules, hints, who goes first, and limits that answers tell of, against a stand-in."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from lampc.ir.errors import LMConfigurationError
from lampc.runtime.providers import OpenAIClient
from lampc.runtime.providers.caching import PromptCache
from lampc.runtime.providers.limits import RateLimit, seconds
from lampc.runtime.providers.rules import Rules, providers, rules_for
from tests.runtime.standin import Provider, flat

OWN = {"like": "openai", "minimum": 64, "step": 16}
SYSTEM = "You answer questions about the document. " * 20


def answer(messages: list[dict[str, Any]]) -> str:
    return f"{flat({'messages': messages[-1:]})[0].split()[-1]}!"


def asked(question: str, document: str = "", system: str = SYSTEM) -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": "An example?"},
        {"role": "assistant", "content": "An answer."},
        {"role": "user", "content": f"{document}\n{question}"},
    ]


def run(server: Provider, prompts: list[list[dict[str, Any]]], **options: Any) -> list[str]:
    with OpenAIClient(server.url, "m", max_concurrency=32, **options) as client:
        return [f.result(30).text for f in client.submit_all([(p, {}) for p in prompts])]


# -- rules --------------------------------------------------------------------------------------------


def test_rules_follow_host_and_model_and_what_is_said() -> None:
    assert rules_for("https://api.openai.com/v1").name == "openai"
    assert rules_for("http://127.0.0.1:80/v1", "openai/gpt").name == "none"
    assert rules_for("litellm", "anthropic/claude-sonnet-4").minimum == 1024
    assert rules_for("litellm", "anthropic/claude-haiku-4-5").minimum == 4096
    assert rules_for("litellm", "gemini/gemini-2.5-pro").minimum == 2048
    assert rules_for("https://api.openai.com/v1", said=False).caches is False
    assert rules_for("http://x/v1", said="deepseek").step == 64
    assert rules_for("http://x/v1", said=OWN).minimum == 64
    for name in providers():
        found = rules_for("http://x/v1", said=name)
        assert found.read
        assert found.source or not found.caches
        assert found.name in found.about()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("opanai", "did you mean 'openai'"),
        ({"minimun": 3}, "did you mean 'minimum'"),
        ({"minimum": -1}, "0 or more"),
        ({"cache": "always"}, "automatic, breakpoints, none"),
        (3, "False, or fields"),
    ],
)
def test_what_is_no_rule_is_said(said: Any, message: str) -> None:
    with pytest.raises(LMConfigurationError, match=message):
        rules_for("http://x/v1", said=said)


def test_shared_beginnings_count_in_steps_from_a_minimum() -> None:
    rules = rules_for("https://api.openai.com/v1")
    assert [rules.reused(n) for n in (0, 1023, 1024, 1151, 1152, 5000)] == [0, 0, 1024, 1024, 1152, 4992]
    assert Rules().reused(10_000) == 0
    claude = rules_for("", said="anthropic")
    assert not claude.pays(1)
    assert claude.pays(2)
    assert not Rules(cache="breakpoints", write_price=2.0, read_price=0.1).pays(2)


# -- who goes first -----------------------------------------------------------------------------------


def test_the_first_of_a_group_goes_alone_and_the_rest_pay_for_their_ends_alone() -> None:
    prompts = [asked(f"question {i}") for i in range(12)]
    with Provider(answer, seconds=0.0005) as plain:
        run(plain, prompts)
    with Provider(answer, seconds=0.0005, tail=0.4) as server:
        begun = time.monotonic()
        texts = run(server, prompts, prompt_cache=OWN)
        assert time.monotonic() - begun < 1.1  # the others did not wait for the whole first answer
    assert texts == [f"{i}!" for i in range(12)]
    first, *others = server.used
    assert first[1] == 0
    assert all(cached == (len(flat({"messages": prompts[0][:3]})[0]) // 4 - 64) // 16 * 16 + 64 for _, cached in others)
    assert plain.computed == sum(p for p, _ in plain.used)  # sent at once, nobody finds anything in the cache
    assert server.computed < 0.2 * plain.computed
    assert server.requests[0]["stream"]
    assert not any("stream" in r for r in server.requests[1:])


def test_beginnings_that_only_some_share_are_warmed_too() -> None:
    documents = [f"Document {n}: " + f"{n} words of it. " * 40 for n in range(3)]
    prompts = [asked(f"question {i}", documents[i % 3]) for i in range(12)]
    with Provider(answer, seconds=0.0005, tail=0.05) as server:
        run(server, prompts, prompt_cache=OWN)
    tokens = {flat(b)[0][-2:]: u for b, u in zip(server.requests, server.used, strict=True)}
    assert len(tokens) >= 10
    cold = [u for u in server.used if u[0] - u[1] > 100]
    assert len(cold) == 3  # one for the system's part and the first document, one for each other document


def test_a_first_call_that_fails_is_followed_by_another() -> None:
    failed: list[int] = []

    def fail(body: dict[str, Any]) -> tuple[int, str] | None:
        if not failed:
            failed.append(1)
            return 400, "not this one"
        return None

    prompts = [asked(f"question {i}") for i in range(4)]
    with Provider(answer, fail=fail, seconds=0.0005) as server, OpenAIClient(server.url, "m", prompt_cache=OWN) as c:
        futures = c.submit_all([(p, {}) for p in prompts])
        assert "not this one" in str(futures[0].exception(20))
        assert [f.result(20).text for f in futures[1:]] == ["1!", "2!", "3!"]
    assert [cached > 0 for _, cached in server.used] == [False, True, True]


def test_a_server_that_does_not_stream_warms_with_its_answer() -> None:
    with Provider(answer, streams=False) as server:
        assert run(server, [asked(f"question {i}") for i in range(4)], prompt_cache=OWN) == ["0!", "1!", "2!", "3!"]
    assert [cached > 0 for _, cached in server.used] == [False, True, True, True]


def test_nobody_waits_where_nothing_is_shared_or_kept() -> None:
    short = [[{"role": "user", "content": f"question {i}"}] for i in range(8)]
    with Provider(answer, tail=0.1) as server:
        run(server, short, prompt_cache=OWN)
        assert server.peak == 8
    with Provider(answer, tail=0.1) as server:
        run(server, [asked(f"question {i}") for i in range(8)])  # a plain endpoint
        assert server.peak == 8
        assert not any("stream" in r or "prompt_cache_key" in r for r in server.requests)


def test_a_cancelled_first_call_and_a_closed_client_leave_nobody_waiting() -> None:
    with Provider(answer, seconds=0.002) as server, OpenAIClient(server.url, "m", prompt_cache=OWN) as client:
        futures = client.submit_all([(asked(f"question {i}"), {}) for i in range(3)])
        time.sleep(0.1)
        futures[0].cancel()
        assert [f.result(20).text for f in futures[1:]] == ["1!", "2!"]
    with Provider(answer, seconds=0.01) as server:
        client = OpenAIClient(server.url, "m", prompt_cache=OWN)
        futures = client.submit_all([(asked(f"question {i}"), {}) for i in range(3)])
        time.sleep(0.1)
        client.close()
        assert all(f.cancelled() for f in futures)


# -- hints --------------------------------------------------------------------------------------------


def test_calls_of_one_beginning_carry_one_key_and_the_same_texts() -> None:
    with Provider(answer) as server:
        run(server, [asked("a b"), asked("a c"), asked("a d", system="Other rules. " * 40)], prompt_cache=OWN)
        keys = {flat(r)[0][-2]: r["prompt_cache_key"] for r in server.requests}
        assert keys["b"] == keys["c"] != keys["d"]
        assert all(r["messages"] in ([*asked("a b")], asked("a c"), asked("a d", system="Other rules. " * 40))
                   for r in server.requests)  # fmt: skip


def test_an_endpoint_that_refuses_the_key_is_asked_without() -> None:
    def fail(body: dict[str, Any]) -> tuple[int, str] | None:
        return (400, "Unknown parameter: prompt_cache_key") if "prompt_cache_key" in body else None

    with Provider(answer, fail=fail) as server:
        assert run(server, [asked("one"), asked("two")], prompt_cache=OWN) == ["one!", "two!"]
        assert "prompt_cache_key" not in server.requests[-1]


def test_breakpoints_stand_where_they_pay() -> None:
    own = {"like": "anthropic", "minimum": 64}
    with Provider(answer, breakpoints=True, seconds=0.0005) as server:
        run(server, [asked(f"question {i}") for i in range(5)], prompt_cache=own)
    for body in server.requests:
        places = [i for i, m in enumerate(body["messages"]) if "cache_control" in json.dumps(m)]
        assert places == [0, 2]  # what the system says, and the last example; at most 4
    assert [cached > 0 for _, cached in server.used] == [False, True, True, True, True]
    with Provider(answer, breakpoints=True) as server:
        run(server, [asked("alone")], prompt_cache=own)
        assert "cache_control" not in json.dumps(server.requests)  # keeping costs more than computing once


def test_breakpoints_of_the_users_stay_alone() -> None:
    cache = PromptCache(rules_for("", said={"like": "anthropic", "minimum": 1}))
    mine = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    body = {"model": "m", "messages": [{"role": "system", "content": mine}, *asked("q")[1:]]}
    assert cache.hinted(body) is body


# -- limits that answers tell of ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("12ms", 0.012), ("6m0s", 360.0), ("1h2m", 3720.0), ("1.5s", 1.5), ("30", 30.0), ("", None), ("soon", None)],
)
def test_times_in_the_forms_endpoints_have(text: str, value: float | None) -> None:
    assert seconds(text) == (None if value is None else pytest.approx(value))
    assert seconds("2000-01-01T00:00:00Z") == 0.0


def test_a_told_limit_is_kept() -> None:
    now = [0.0]
    limit = RateLimit(clock=lambda: now[0])
    assert not limit
    names = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
    limit.heard(dict(zip(names, ("-1", "-1", "0"), strict=True)))
    assert not limit  # not known to the endpoint itself
    limit.heard(dict(zip(names, ("10", "1", "9s"), strict=True)))
    assert limit
    assert limit.wait() == 0.0
    limit.take(100)
    assert limit.wait() == pytest.approx(1.0)
    now[0] += 1.0
    assert limit.wait() == 0.0
    limit.heard({"anthropic-ratelimit-tokens-limit": "1000", "anthropic-ratelimit-tokens-remaining": "0",
                 "anthropic-ratelimit-tokens-reset": "60s"})  # fmt: skip
    assert limit.wait(100) == pytest.approx(6.0)
    assert limit.wait(5000) == pytest.approx(60.0)  # more than there ever is: as soon as all is there
    limit.take(100)
    limit.correct(100, 40)
    assert limit.wait(0) == pytest.approx(60.0 * 40 / 1000)


def test_calls_are_held_back_by_the_limits_that_answers_tell_of() -> None:
    prompts = [[{"role": "user", "content": f"question {i}"}] for i in range(16)]
    with Provider(answer, limit=40.0, burst=4) as server, OpenAIClient(server.url, "m", max_concurrency=4) as client:
        futures = client.submit_all([(p, {}) for p in prompts])
        assert [f.result(30).text for f in futures] == [f"{i}!" for i in range(16)]
        assert server.refused <= 3  # of the four that were sent before the first answer told of the limit
    with Provider(answer, limit=40.0, burst=2) as server, OpenAIClient(server.url, "m", backoff=0.05) as client:
        futures = client.submit_all([(p, {}) for p in prompts[:6]])
        assert all(f.exception(30) is None for f in futures)  # refused at first, none is lost


# -- the stand-in, held against the official client ---------------------------------------------------


def test_the_official_client_sees_the_same_provider() -> None:
    with Provider(answer) as server, openai.OpenAI(base_url=server.url, api_key="x", max_retries=0) as theirs:
        found: list[int] = []
        for i in range(3):
            done = theirs.chat.completions.create(model="m", messages=asked(f"question {i}"))  # type: ignore[arg-type]
            assert done.usage is not None
            assert done.usage.prompt_tokens_details is not None
            found.append(done.usage.prompt_tokens_details.cached_tokens or 0)
            assert done.choices[0].message.content == f"{i}!"
        pieces = theirs.chat.completions.create(model="m", messages=asked("q"), stream=True)  # type: ignore[arg-type]
        assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == "q!"
        with OpenAIClient(server.url, "m") as ours:
            again = ours.complete(asked("question 7"))
        assert found[0] == 0
        assert found[1] == found[2] == again.cached_tokens > 0
