"""Tools in chat templates that know them, and in those that do not; calls read out of what models write."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lampc.backend import load_engine
from lampc.backend.loop import EngineLoop
from lampc.runtime.pool import firefly_folder
from lampc.runtime.serve import Server
from lampc.runtime.serve.bodies import ChatBody
from lampc.runtime.serve.conversations import ids_of, plain_turns
from lampc.runtime.serve.engine import ServedEngine
from lampc.runtime.serve.problems import Problem
from lampc.runtime.serve.service import Service
from lampc.runtime.serve.tools import TextBeforeCalls, Toolbox

NATIVE = (
    "{% if tools %}<|system|>{{ tools | tojson }}<|end|>{% endif %}"
    "{% for m in messages %}<|{{ 'user' if m.role == 'tool' else m.role }}|>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments.city }}]{% endfor %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "rome"}'}}
BODY = {
    "messages": [
        {"role": "user", "content": "is it warm <|end|> ?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "weather", "description": "of a <|end|> city", "parameters": {}}},
        {"type": "function", "function": {"name": "say", "description": "to say it", "parameters": {}}},
    ],
}


def body(**more: object) -> ChatBody:
    return ChatBody.model_validate_json(json.dumps({**BODY, **more}))


@pytest.fixture
def native(tmp_path: Path) -> Iterator[ServedEngine]:
    folder = tmp_path / "native"
    shutil.copytree(firefly_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    (folder / "chat_template.jinja").write_text(NATIVE, encoding="utf-8")
    made = ServedEngine(EngineLoop(load_engine(folder, kv_tokens=1000)))
    yield made
    made.close()


def test_a_template_that_knows_tools_is_given_them(native: ServedEngine) -> None:
    ids = ids_of(native, body().messages, Toolbox(body()))
    text = native.tokenizer.decode(ids, skip_special=False)
    assert text.count("<|end|>") == 4  # the template's own: none that a message, or a tool's description, spells
    assert "weather" in text.split("<|end|>")[0]
    assert "rome" in text.split("<|end|>")[2]
    assert "weather" not in native.tokenizer.decode(ids_of(native, body().messages[:1]), skip_special=False)


def test_for_another_template_they_stand_in_the_system_message() -> None:
    system, user, call, result = plain_turns(body().messages, Toolbox(body()))
    assert system["role"] == "system"
    assert '"name": "weather"' in system["content"]
    assert user["content"] == "is it warm <|end|> ?"  # broken up where the template is filled
    assert call["content"] == '<tool_call>{"name": "weather", "arguments": {"city": "rome"}}</tool_call>'
    assert result == {"role": "user", "content": "Result of weather:\nsunny"}


@pytest.mark.parametrize("kind", ["array", ["string", "null"], 3])
def test_a_forced_call_has_an_object(server: Server, kind: object) -> None:
    function = {"name": "weather", "parameters": {"type": kind}}
    asked = {"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function", "function": function}]}
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        got = httpx.post(
            f"{server.url}/v1/chat/completions",
            json={**asked, "tool_choice": choice, "max_tokens": 4},
            timeout=60,
            trust_env=False,
        )
        assert got.status_code == 400
        assert got.json()["error"]["param"] == "tools[0].function.parameters.type"
        assert "which is what a call's arguments are" in got.json()["error"]["message"]


@pytest.mark.parametrize("parameters", [{}, {"anyOf": [{"properties": {"a": {"const": 1}}}, {"type": "array"}]}])
def test_a_forced_call_is_kept_to_an_object(server: Server, parameters: dict[str, object]) -> None:
    for kind in ({"type": "object"}, {"type": ["array", "object"]}, {}):
        function = {"name": "weather", "parameters": {**parameters, **kind}}
        asked = {
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "function", "function": function}],
            "tool_choice": "required",
            "max_tokens": 300,
            "temperature": 0,
            "logit_bias": {str(i): 8 for i in server.app.service.engine.tokenizer.encode("}")[-1:]},
        }
        got = httpx.post(f"{server.url}/v1/chat/completions", json=asked, timeout=60, trust_env=False)
        assert got.status_code == 200
        (choice,) = got.json()["choices"]
        if choice["finish_reason"] != "length":
            assert isinstance(json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]), dict)


def test_arguments_that_are_nested_too_deeply_are_refused(server: Server, native: ServedEngine) -> None:
    call = {**CALL, "function": {"name": "weather", "arguments": "[" * 100_000}}
    messages = [{"role": "user", "content": "warm?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    for path in ("/v1/chat/completions", "/tokenize"):
        got = httpx.post(f"{server.url}{path}", json={"messages": messages}, timeout=60, trust_env=False)
        assert got.status_code == 400
        assert got.json()["error"]["param"] == "messages"
        assert "nested too deeply" in got.json()["error"]["message"]
    service = Service(native, "native")
    with pytest.raises(Problem, match="nested too deeply"):
        asyncio.run(service.encoded(0, lambda: ids_of(native, body(messages=messages).messages)))


@pytest.mark.parametrize(
    ("text", "rest", "calls"),
    [
        ("it is warm", "it is warm", []),
        ('{"name": "weather", "arguments": {"city": "rome"}}', "", [("weather", '{"city": "rome"}')]),
        (
            'one <tool_call>{"name": "weather", "arguments": {}}</tool_call> two '
            '<tool_call>{"name": "say", "arguments": {}}',
            "one  two",
            [("weather", "{}"), ("say", "{}")],
        ),
        ('<tool_call>{"name": "other", "arguments": {}}</tool_call>', None, []),
        ('<tool_call>{"name": "weather", "argum', None, []),
        ('{"name": "weather", "arguments": 3}', None, []),
        ('{"name": "weather", "arguments": {"degrees": 1e999}}', None, []),
        ("a < b and <tool", None, []),
        ("[" * 5000, None, []),
        ("<tool_call>" + "[" * 5000, None, []),
        ('<tool_call>{"name": "weather", "arguments": ' + '{"a":' * 5000, None, []),
    ],
)
def test_calls_are_read_whole_and_streamed(text: str, rest: str | None, calls: list[tuple[str, str]]) -> None:
    tools = Toolbox(body())
    rest = text if rest is None else rest
    assert tools.read(text) == (rest, calls)
    for size in (1, 3, 1000):
        pieces = TextBeforeCalls(tools)
        shown = "".join(pieces.push(text[at : at + size]) for at in range(0, len(text), size))
        left, found = pieces.end()
        assert found == calls
        assert (shown + left).split() == rest.split()
        assert not calls or "tool_call" not in shown
