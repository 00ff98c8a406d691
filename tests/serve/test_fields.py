"""Errors name the field that they are about, as OpenAI's do: those that the engine finds, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lampc.runtime.serve import Server
from tests.serve.conftest import served

TALK = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "nothing"}}}
NEVER = {"type": "nothing"}


def form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served() as server:
        yield server


def refused(server: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    got = httpx.post(f"{server.url}{path}", json=body, trust_env=False, timeout=60)
    assert got.status_code == 400, got.text
    found: dict[str, Any] = got.json()["error"]
    assert found["type"] == "invalid_request_error"
    assert found["message"]
    return found


BOTH: list[tuple[dict[str, Any], str]] = [
    ({"n": 129}, "n"),
    ({"temperature": -1}, "temperature"),
    ({"logit_bias": {"99999999": 1}}, "logit_bias"),
    ({"stop": ["a", ""]}, "stop"),
    ({"stop_token_ids": [-1]}, "stop_token_ids.0"),
    ({"allowed_token_ids": [99999999]}, "allowed_token_ids"),
    ({"bad_words": [" "]}, "bad_words"),
    ({"min_tokens": 9, "max_tokens": 3}, "min_tokens"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
    ({"structured_outputs": {"choice": ["a", ""]}}, "structured_outputs.choice"),
    ({"structured_outputs": {"regex": ""}}, "structured_outputs.regex"),
    ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
    ({"structured_outputs": {"regex": "(?=a)b"}}, "structured_outputs.regex"),
    ({"structured_outputs": {"json": NEVER}}, "structured_outputs.json"),
    ({"structured_outputs": {"json": False}}, "structured_outputs.json"),
    ({"structured_outputs": {"grammar": "start: what"}}, "structured_outputs.grammar"),
    ({"structured_outputs": {}}, "structured_outputs"),
    ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        *BOTH,
        ({"prompt": [99999999]}, "prompt"),
        ({"prompt": [[1, 2], [3, 99999999]]}, "prompt"),
        ({"prompt": ["x"] * 129}, "prompt"),
        ({"prompt": ["x"] * 43, "n": 3}, "n"),
        ({"prompt": "x " * 5000}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"best_of": 200, "stream": False}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_of_completions(server: Server, body: dict[str, Any], field: str, stream: bool) -> None:
    error = refused(server, "/v1/completions", {"prompt": "x", "stream": stream, **body})
    assert error["param"] == field, error


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        *BOTH,
        ({"messages": [{"role": "user", "content": "x " * 5000}]}, "messages"),
        ({"messages": []}, "messages"),
        ({"min_tokens": 9, "max_completion_tokens": 3}, "min_tokens"),
        ({"response_format": form(NEVER)}, "response_format.json_schema.schema"),
        ({"response_format": form(False)}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
    ],
)
def test_of_chats(server: Server, body: dict[str, Any], field: str, stream: bool) -> None:
    error = refused(server, "/v1/chat/completions", {"messages": TALK, "stream": stream, **body})
    assert error["param"] == field, error


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/detokenize", {"tokens": [99999999]}, "tokens"),
        ("/tokenize", {"messages": [{"role": "nobody", "content": "x"}]}, "messages.0.role"),
        ("/tokenize", {"prompt": 3}, "prompt"),
    ],
)
def test_of_the_others(server: Server, path: str, body: dict[str, Any], field: str) -> None:
    assert refused(server, path, body)["param"] == field
