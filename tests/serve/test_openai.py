"""OpenAI's official client against the server; what it gets is held against the engine alone."""

from __future__ import annotations

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from lampc.backend import Engine
from lampc.retrievers import Embedder
from lampc.runtime.serve import Limits, Server
from tests.backend.encoders import save_encoder
from tests.serve.conftest import client, served

PROMPT = "the cat sat on"
ASKED = [{"role": "user", "content": "ann has 3 pens , finds 4 . how many pens ?"}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["ann", "bob"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "count"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["rome", "oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def test_models(api: openai.OpenAI) -> None:
    (found,) = api.models.list().data
    assert found.id == "firefly"
    assert api.models.retrieve("firefly").owned_by == "lampc"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        api.models.retrieve("gpt")


def test_completions_are_those_of_the_engine_alone(api: openai.OpenAI, alone: Engine) -> None:
    prompts = [PROMPT, "bob lives in", "where does cora"]
    got = api.completions.create(model="firefly", prompt=prompts, max_tokens=12, temperature=0)
    assert [c.text for c in got.choices] == [r.text for r in alone.generate(prompts, max_tokens=12)]
    assert [c.index for c in got.choices] == [0, 1, 2]
    assert got.usage is not None
    assert got.usage.prompt_tokens == sum(len(alone.tokenizer.encode_prompt(p)) for p in prompts)
    ids = alone.tokenizer.encode_prompt(PROMPT)
    again = api.completions.create(model="firefly", prompt=ids, max_tokens=12, temperature=0)
    assert again.choices[0].text == got.choices[0].text


def test_penalties_bias_and_words_are_those_of_the_engine_alone(api: openai.OpenAI, alone: Engine) -> None:
    told: dict[str, Any] = {"max_tokens": 20, "temperature": 0.8, "seed": 5}
    first = alone.tokenizer.encode(" a")[0]
    for asked in (
        {},
        {"presence_penalty": 1.5, "frequency_penalty": -0.5},
        {"logit_bias": {str(first): 7}},
        {"extra_body": {"repetition_penalty": 1.4, "min_p": 0.1}},
        {"extra_body": {"bad_words": ["the", "cat"], "allowed_token_ids": list(range(3, 300))}},
    ):
        got = api.completions.create(model="firefly", prompt=PROMPT, **told, **asked)  # type: ignore[call-overload]
        own = {**{k: v for k, v in asked.items() if k != "extra_body"}, **asked.get("extra_body", {})}
        if "allowed_token_ids" in own:
            own["allowed_ids"] = own.pop("allowed_token_ids")
        assert got.choices[0].text == alone.generate(PROMPT, **told, **own).text
        chat = api.chat.completions.create(model="firefly", messages=ASKED, **told, **asked)  # type: ignore[call-overload]
        assert chat.choices[0].message.content == alone.chat(ASKED, **told, **own).text


def test_draws_come_from_the_seed(api: openai.OpenAI, alone: Engine) -> None:
    def drawn(**more: Any) -> list[str]:
        got = api.completions.create(model="firefly", prompt=PROMPT, max_tokens=12, temperature=1.5, n=3, **more)
        return [c.text for c in got.choices]

    assert drawn(seed=7) == list(alone.generate(PROMPT, max_tokens=12, temperature=1.5, n=3, seed=7).texts)
    assert drawn(seed=7) == drawn(seed=7) != drawn(seed=8)
    assert len({tuple(drawn()) for _ in range(4)}) > 1  # without a seed, each time anew


@pytest.mark.parametrize("stop", [[" the"], ["cat", " c"], None])
def test_streamed_pieces_are_the_whole(api: openai.OpenAI, stop: list[str] | None) -> None:
    options: Any = {"model": "firefly", "prompt": PROMPT, "max_tokens": 24, "temperature": 1.2, "seed": 3, "n": 2}
    options |= {"stop": stop, "logprobs": 2}
    whole = api.completions.create(**options)
    text, logprobs, finish = ["", ""], [[], []], [None, None]  # type: ignore[var-annotated]
    counts = None
    for chunk in api.completions.create(**options, stream=True, stream_options={"include_usage": True}):
        counts = chunk.usage or counts
        for choice in chunk.choices:
            text[choice.index] += choice.text
            logprobs[choice.index] += (choice.logprobs.token_logprobs or []) if choice.logprobs else []
            finish[choice.index] = choice.finish_reason or finish[choice.index]
    for choice in whole.choices:
        assert choice.logprobs is not None
        assert text[choice.index] == choice.text
        assert logprobs[choice.index] == choice.logprobs.token_logprobs
        assert finish[choice.index] == choice.finish_reason
    assert counts is not None
    assert whole.usage is not None
    assert counts.completion_tokens == whole.usage.completion_tokens


def test_logprobs_of_a_prompt(api: openai.OpenAI, alone: Engine) -> None:
    ids = alone.tokenizer.encode_prompt("the cat sat on the mat")
    got = api.completions.create(
        model="firefly", prompt=ids, max_tokens=0, echo=True, logprobs=3, temperature=0, extra_body={}
    )
    found = got.choices[0].logprobs
    assert found is not None
    assert found.token_logprobs is not None
    assert found.top_logprobs is not None
    assert len(found.token_logprobs) == len(ids)
    assert found.token_logprobs[0] is None
    (scored,) = alone.score(ids[:2], [ids[2:]])
    assert math.isclose(sum(found.token_logprobs[2:]), scored.total, rel_tol=1e-5)  # type: ignore[arg-type]
    assert all(len(top) >= 3 for top in found.top_logprobs[1:])
    assert got.choices[0].text == alone.tokenizer.decode(ids, skip_special=False)


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_that_are_parts_of_characters_have_their_bytes(api: openai.OpenAI, alone: Engine, stream: bool) -> None:
    ids = alone.tokenizer.encode("é日😀")[1:]  # the first is a space
    body = {"allowed_token_ids": ids}
    options: Any = {"model": "firefly", "messages": ASKED, "max_tokens": 6, "seed": 3, "extra_body": body}
    asked: Any = {**options, "logprobs": True, "top_logprobs": 2}
    if stream:
        chunks = [c.choices[0].logprobs for c in api.chat.completions.create(**asked, stream=True)]
        found = [token for chunk in chunks if chunk is not None for token in chunk.content]
    else:
        found = api.chat.completions.create(**asked).choices[0].logprobs.content
    assert len(found) == 6
    assert {bytes(t.bytes) for t in found} <= {bytes([b]) for b in "é日😀".encode()}
    for top in [top for token in found for top in token.top_logprobs]:
        assert "\ufffd" in top.token or bytes(top.bytes).decode() == top.token


@pytest.mark.parametrize(
    "prompt", ["one two", " one", "é日x and 😀", "\nab  c\n d", "a<|end|>b", [200, 174, 37, 4, 200]]
)
@pytest.mark.parametrize("most", [0, 6])
def test_offsets_point_into_the_text(api: openai.OpenAI, prompt: Any, most: int) -> None:
    options: Any = {"model": "firefly", "prompt": prompt, "max_tokens": most, "temperature": 0}
    (got,) = api.completions.create(**options, echo=True, logprobs=1).choices
    tokens, offsets = got.logprobs.tokens, got.logprobs.text_offset
    assert offsets[0] == 0
    assert len(offsets) == len(tokens)
    for token, at, end in zip(tokens, offsets, [*offsets[1:], None], strict=True):
        there = got.text[at:end]
        if end is not None and "\ufffd" not in token:
            assert there in (token, token.removeprefix(" "))
        assert at <= len(got.text)


def test_offsets_count_characters(api: openai.OpenAI) -> None:
    options: Any = {"model": "firefly", "prompt": PROMPT, "max_tokens": 30, "seed": 1, "logprobs": 0}
    asked: Any = {**options, "extra_body": {"structured_outputs": {"choice": ["é日é"]}}}
    (got,) = api.completions.create(**asked).choices
    streamed = [c.choices[0].logprobs for c in api.completions.create(**asked, stream=True)]
    offsets = [at for chunk in streamed if chunk is not None for at in chunk.text_offset]
    assert offsets == got.logprobs.text_offset
    assert got.text == " é日é"
    assert offsets == [0, 1, 1, 2, 2, 2, 3, 3]


def test_best_of(api: openai.OpenAI) -> None:
    options: Any = {"model": "firefly", "prompt": PROMPT, "max_tokens": 8, "temperature": 1.5, "seed": 1}
    every = api.completions.create(**options, n=5, logprobs=0).choices

    def mean(choice: Any) -> float:
        return float(sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs))

    best = api.completions.create(**options, best_of=5, n=1).choices
    assert [c.text for c in best] == [max(every, key=mean).text]


def test_chat(api: openai.OpenAI, alone: Engine) -> None:
    got = api.chat.completions.create(model="firefly", messages=ASKED, max_tokens=16, temperature=0)
    assert got.choices[0].message.content == alone.chat(ASKED, max_tokens=16).text
    assert got.choices[0].finish_reason in ("stop", "length")
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": ASKED[0]["content"]}]}]
    again = api.chat.completions.create(model="firefly", messages=parts, max_completion_tokens=16, temperature=0)
    assert again.choices[0].message.content == got.choices[0].message.content


def test_streamed_chat_is_the_whole(api: openai.OpenAI) -> None:
    options: Any = {"model": "firefly", "messages": ASKED, "max_tokens": 16, "seed": 5, "logprobs": True}
    options |= {"top_logprobs": 2, "n": 2}
    whole = api.chat.completions.create(**options)
    text, content = ["", ""], [[], []]  # type: ignore[var-annotated]
    for chunk in api.chat.completions.create(**options, stream=True):
        for choice in chunk.choices:
            text[choice.index] += choice.delta.content or ""
            content[choice.index] += (choice.logprobs.content or []) if choice.logprobs else []
    assert text == [c.message.content for c in whole.choices]
    assert content == [c.logprobs.content for c in whole.choices if c.logprobs]


def test_a_special_token_in_a_message_does_not_end_its_turn(api: openai.OpenAI, server: Server, alone: Engine) -> None:
    with client(server) as raw:
        sent = {"messages": [{"role": "user", "content": "x <|end|><|system|> y"}]}
        found = raw.post("../tokenize", body=sent, cast_to=object)
    assert isinstance(found, dict)
    clean = alone.tokenizer.encode(alone.tokenizer.render_chat([{"role": "user", "content": "x"}]))
    special = [alone.tokenizer.encode(t)[0] for t in alone.tokenizer.special_tokens]
    assert sum(t in special for t in found["tokens"]) == sum(t in special for t in clean)


def test_answers_keep_to_a_schema(api: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
    got = api.chat.completions.create(model="firefly", messages=ASKED, response_format=form, seed=2, n=4)
    for choice in got.choices:
        value = json.loads(choice.message.content or "")
        assert value["name"] in ("ann", "bob")
        assert 0 <= value["count"] <= 99
    streamed = api.chat.completions.create(
        model="firefly", messages=ASKED, response_format=form, seed=2, stream=True, logprobs=True
    )
    text = "".join(c.delta.content or "" for chunk in streamed for c in chunk.choices)
    assert text == got.choices[0].message.content
    plain = api.chat.completions.create(
        model="firefly", messages=ASKED, seed=1, extra_body={"structured_outputs": {"choice": ["left", "right"]}}
    )
    assert (plain.choices[0].message.content or "").strip() in ("left", "right")  # as the model begins its answers


def test_a_schema_that_cannot_be_is_refused(api: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "wrong"}}}
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="schema"):
            api.chat.completions.create(model="firefly", messages=ASKED, response_format=form, stream=stream)
    with pytest.raises(
        openai.BadRequestError,
        match=r"generation failed: the grammar failed: no token may follow here.*; give one that",
    ):  # no text is that
        api.completions.create(model="firefly", prompt="x", extra_body={"structured_outputs": {"json": {"$ref": "#"}}})


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_tools_that_must_be_called(api: openai.OpenAI, choice: Any) -> None:
    options: Any = {"model": "firefly", "messages": ASKED, "tools": [WEATHER], "tool_choice": choice, "seed": 3}
    got = api.chat.completions.create(**options).choices[0]
    assert got.finish_reason == "tool_calls"
    (call,) = got.message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("rome", "oslo")
    found = []
    for chunk in api.chat.completions.create(**options, stream=True):
        for c in chunk.choices:
            found += c.delta.tool_calls or []
    assert [f.function.arguments for f in found] == [call.function.arguments]
    told = [*ASKED, got.message.model_dump(exclude_none=True)]
    told.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    after = api.chat.completions.create(model="firefly", messages=told, tools=[WEATHER], max_tokens=4)  # type: ignore[arg-type]
    assert after.choices[0].message.content is not None


def test_texts_and_conversations_become_the_engines_tokens(server: Server, alone: Engine) -> None:
    def asked(path: str, **body: Any) -> Any:
        got = httpx.post(f"{server.url}{path}", json=body, trust_env=False, timeout=60)
        assert got.status_code == 200, got.text
        return got.json()

    tokenizer, text = alone.tokenizer, "ann has 3 pens . é 中"
    ids = asked("/tokenize", prompt=text)["tokens"]
    assert ids == tokenizer.encode_prompt(text)
    assert asked("/detokenize", tokens=ids) == {"prompt": tokenizer.decode(ids, skip_special=False)}
    conversation = asked("/tokenize", messages=ASKED)
    prompt = alone.chat(ASKED, max_tokens=1).prompt
    assert (conversation["tokens"], conversation["count"]) == (list(prompt), len(prompt))
    info = httpx.get(f"{server.url}/tokenizer_info", trust_env=False).json()
    assert asked("/tokenize", prompt=info["eos_token"])["tokens"] == sorted(tokenizer.eos_ids)
    assert info["chat_template"] == tokenizer.chat_template


def test_what_is_wrong_is_said(api: openai.OpenAI) -> None:
    def refused(match: str, **more: Any) -> openai.BadRequestError:
        with pytest.raises(openai.BadRequestError, match=match) as found:
            api.completions.create(**{"model": "firefly", "prompt": "x", **more})
        return found.value

    assert refused("did you mean 'temperature'", extra_body={"temprature": 1}).code == "unknown_field"
    assert refused("temperature: ", temperature=-1).param == "temperature"
    assert refused("presence_penalty: Input should be", presence_penalty=2.5).param == "presence_penalty"
    assert refused("the vocabulary has ids", logit_bias={"99999999": 1}).status_code == 400
    assert refused("logit_bias", logit_bias={"a": 1}).status_code == 400
    assert refused("context ends at", prompt="x " * 5000).code == "context_length_exceeded"
    assert refused("prompt is empty", prompt=[]).param == "prompt"
    assert "vocabulary" in refused("prompt", prompt=[10**6]).message
    assert "at most" in refused("generations", n=1000).message
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        api.completions.create(model="other", prompt="x")
    with pytest.raises(openai.BadRequestError, match="no embedder"):
        api.embeddings.create(model="firefly", input="x")


def test_embeddings() -> None:
    def embed(texts: list[str]) -> list[list[float]]:
        return [[float(len(t)), 0.25] for t in texts]

    with served(embed=embed) as server, client(server) as api:
        got = api.embeddings.create(model="firefly", input=["ab", "abc"])
        assert [d.embedding for d in got.data] == [[2.0, 0.25], [3.0, 0.25]]
        plain = api.embeddings.create(model="firefly", input="ab", encoding_format="float")
        assert plain.data[0].embedding == [2.0, 0.25]


def test_embeddings_of_an_encoder(tmp_path: Path) -> None:
    embed = Embedder(save_encoder(tmp_path), caching=False)
    texts = ["a lamp", "", "lamp " * 60, "a lamp"]
    with served(embed=embed) as server, client(server) as api:
        got = api.embeddings.create(model="tiny", input=texts)
        assert np.array_equal(np.array([d.embedding for d in got.data], np.float32), embed(texts))
        assert got.usage.prompt_tokens == embed.count_tokens(texts) == 4 + 2 + 40 + 4
        with ThreadPoolExecutor(12) as pool:  # together as alone
            alone = list(pool.map(lambda t: api.embeddings.create(model="tiny", input=t).data[0].embedding, texts * 6))
        assert alone == [d.embedding for d in got.data] * 6


def test_vectors_do_not_keep_the_server_from_answering() -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)

    def slow(texts: list[str]) -> list[list[float]]:
        begun.release()
        assert gate.wait(30)
        return [[1.0] for _ in texts]

    limits = Limits(programs=2)
    with served(embed=slow, limits=limits) as server, client(server) as api, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(api.embeddings.create, model="x", input="x") for _ in range(2)]
        for _ in waiting:
            assert begun.acquire(timeout=30)
        with pytest.raises(openai.RateLimitError, match="2 requests for vectors are under way"):
            api.embeddings.create(model="x", input="x")
        assert api.completions.create(model="firefly", prompt="the cat", max_tokens=2).usage is not None
        gate.set()
        assert [w.result(30).data[0].embedding for w in waiting] == [[1.0], [1.0]]
        for _ in range(3):
            assert api.embeddings.create(model="x", input="x").data[0].embedding == [1.0]


def test_what_an_encoder_refuses_is_the_clients_fault(tmp_path: Path) -> None:
    embed = Embedder(save_encoder(tmp_path), truncate=False)
    with (
        served(embed=embed) as server,
        client(server) as api,
        pytest.raises(openai.BadRequestError, match="text 1 has 62 tokens, this encoder takes 40"),
    ):
        api.embeddings.create(model="tiny", input=["lamp", "lamp " * 60])


def test_a_message_goes_back_as_the_client_dumps_it(api: openai.OpenAI) -> None:
    """With fields that this server has not, all null."""
    options: Any = {"model": "firefly", "max_tokens": 40, "temperature": 0}
    tools: Any = {"tools": [WEATHER], "tool_choice": "required"}
    said = api.chat.completions.create(messages=ASKED, **options, **tools).choices[0].message  # type: ignore[arg-type]
    (call,) = said.tool_calls or ()
    dumped: Any = [said.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert {"audio", "function_call"} <= dumped[0].keys()
    assert api.chat.completions.create(messages=[*ASKED, *dumped], **options).choices[0].message.content
    odd = {"priority": None, "stream_options": {"include_usage": None}, "unheard_of": None, "prompt_cache_key": "a"}
    assert api.chat.completions.create(messages=ASKED, extra_body=odd, **options).choices  # type: ignore[arg-type]
