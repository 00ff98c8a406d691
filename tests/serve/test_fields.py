"""Errors name the very field that they are about and say what is wanted there: those that the engine finds, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.frontend.python.annotations import to_type
from lampc.ir.types import MapOf, Record, Scalar
from lampc.runtime.serve import Program, Server
from lampc.runtime.serve.inputs import wrong_place
from tests.serve.conftest import served

TALK = [{"role": "user", "content": "hello"}]
NEVER = {"type": "nothing"}
DEEP = {"type": "object", "properties": {"a": NEVER}}
IMAGE = {"type": "image_url", "image_url": {"url": "http://localhost/x.png"}}
SORT = """
module Sort(items: list[{name: str, size: int}], tone: "good" | "bad", note: str?) -> (count: int) {
    return (count: 1);
}
"""


def form(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}


def schema_form(**more: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", **more}}}


def says(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def called(**call: Any) -> dict[str, Any]:
    return {"messages": [*TALK, {"role": "assistant", "tool_calls": [{"id": "a", **call}]}]}


def tools(*functions: dict[str, Any], choice: Any = "required") -> dict[str, Any]:
    made = [{"type": "function", "function": {"name": f"f{i}", **f}} for i, f in enumerate(functions)]
    return {"tools": made, "tool_choice": choice}


def chosen(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    program = Program("Sort", compile_lmp(SORT, "sort.lmp"))
    with served(program, embed=lambda texts: [[1.0] for _ in texts]) as server:
        yield server


def refused(server: Server, path: str, body: Any, field: str | None, said: str = "") -> None:
    got = httpx.post(f"{server.url}{path}", json=body, trust_env=False, timeout=60)
    assert got.status_code == 400, got.text
    error = got.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == field, error
    assert field is None or field in error["message"], error
    assert said in error["message"], error
    assert "LEAD" not in error["message"], error  # a grammar that was made here is nothing that a user has seen


BOTH: list[tuple[dict[str, Any], str, str]] = [
    ({"model": 3}, "model", "string"),
    ({"temperature": "hot"}, "temperature", "number"),
    ({"temperature": -1}, "temperature", "0"),
    ({"top_p": 2}, "top_p", "1"),
    ({"n": 129}, "n", "at most 128"),
    ({"n": 0}, "n", "1"),
    ({"stream_options": 3}, "stream_options", "object"),
    ({"stream_options": {"include_usage": 3}}, "stream_options.include_usage", "boolean"),
    ({"stream_options": {"include_usge": True}}, "stream_options.include_usge", "did you mean 'include_usage'?"),
    ({"stop": 3}, "stop", "give a text or a list of texts"),
    ({"stop": ["a", 3]}, "stop[1]", "string"),
    ({"stop": ["a", ""]}, "stop[1]", "at least 1 character"),
    ({"seed": 1.5}, "seed", "integer"),
    ({"user": 3}, "user", "string"),
    ({"presence_penalty": 3}, "presence_penalty", "2"),
    ({"frequency_penalty": -3}, "frequency_penalty", "-2"),
    ({"logit_bias": [1]}, "logit_bias", "object"),
    ({"logit_bias": {"a": 1}}, "logit_bias.a", "keys are token ids"),
    ({"logit_bias": {"3": 1, "-1": 1}}, 'logit_bias["-1"]', "keys are token ids"),
    ({"logit_bias": {"str": 1}}, "logit_bias.str", "keys are token ids"),
    ({"logit_bias": {"a]": 1}}, 'logit_bias["a]"]', "keys are token ids"),
    ({"logit_bias": {"<5>": 1}}, 'logit_bias["<5>"]', "keys are token ids"),
    ({"<b>": 1}, '["<b>"]', "there is no field"),
    ({"logit_bias": {"1": 101}}, 'logit_bias["1"]', "100"),
    ({"logit_bias": {"99999999": 1, "5": 1}}, 'logit_bias["99999999"]', "0 to 2879"),
    ({"top_k": -2}, "top_k", "-1"),
    ({"min_p": 2}, "min_p", "1"),
    ({"stop_token_ids": [1, -1]}, "stop_token_ids[1]", "0"),
    ({"repetition_penalty": 0}, "repetition_penalty", "0.01"),
    ({"allowed_token_ids": []}, "allowed_token_ids", "at least 1"),
    ({"allowed_token_ids": [3, 99999999]}, "allowed_token_ids[1]", "0 to 2879"),
    ({"bad_words": ["a", 3]}, "bad_words[1]", "string"),
    ({"bad_words": ["a", " "]}, "bad_words[1]", "more than spaces"),
    ({"ignore_eos": 3}, "ignore_eos", "boolean"),
    ({"priority": 1001}, "priority", "1000"),
    ({"timeout": 0}, "timeout", "0"),
    ({"temprature": 1}, "temprature", "did you mean 'temperature'?"),
    ({"min_tokens": 9, "max_tokens": 3}, "min_tokens", "0 up to max_tokens"),
    ({"structured_outputs": 3}, "structured_outputs", "object"),
    ({"structured_outputs": {"regexp": "a"}}, "structured_outputs.regexp", "did you mean 'regex'?"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "list of texts"),
    ({"structured_outputs": {"choice": ["a", 3]}}, "structured_outputs.choice[1]", "string"),
    ({"structured_outputs": {"choice": ["a", ""]}}, "structured_outputs.choice[1]", "one character"),
    ({"structured_outputs": {"regex": ""}}, "structured_outputs.regex", "give a pattern"),
    ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex", "the pattern cannot be used: unclosed group"),
    ({"structured_outputs": {"regex": "(?=a)b"}}, "structured_outputs.regex", "look-around"),
    ({"structured_outputs": {"json": 3}}, "structured_outputs.json", "give a JSON schema, an object"),
    (
        {"structured_outputs": {"json": NEVER}},
        "structured_outputs.json",
        "schema cannot be used: Invalid type: nothing",
    ),
    ({"structured_outputs": {"json": False}}, "structured_outputs.json", "not"),
    ({"structured_outputs": {"grammar": "start: what"}}, "structured_outputs.grammar", "line 1, column 8"),
    ({"structured_outputs": {}}, "structured_outputs", "give one of"),
    ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs", "give one of"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        *BOTH,
        ({"prompt": None}, "prompt", "it is missing"),
        ({"prompt": {}}, "prompt", "give a text"),
        ({"prompt": []}, "prompt", "empty"),
        ({"prompt": ["a", ""]}, "prompt[1]", "empty"),
        ({"prompt": ["a", 3]}, "prompt[1]", "string"),
        ({"prompt": [-1]}, "prompt[0]", "0"),
        ({"prompt": [1, -1]}, "prompt[1]", "0"),
        ({"prompt": [1, "a"]}, "prompt[1]", "integer"),
        ({"prompt": [[1], [2, -1]]}, "prompt[1][1]", "0"),
        ({"prompt": [[1], "a"]}, "prompt[1]", "array"),
        ({"prompt": [99999999]}, "prompt[0]", "0 to 2879"),
        ({"prompt": [[1, 2], [3, 99999999]]}, "prompt[1][1]", "0 to 2879"),
        ({"prompt": ["x"] * 129}, "prompt", "at most 128"),
        ({"prompt": ["x"] * 43, "n": 3}, "n", "at most 128"),
        ({"prompt": "x " * 5000}, "prompt", "shorten"),
        ({"prompt": ["x", "x " * 5000]}, "prompt[1]", "shorten"),
        ({"best_of": 200, "stream": False}, "best_of", "at most 128"),
        ({"best_of": 1, "n": 2}, "best_of", "at least n"),
        ({"suffix": "x"}, "suffix", "leave it out"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"logprobs": 21}, "logprobs", "20"),
        ({"echo": 3}, "echo", "boolean"),
        ({"messages": TALK}, "messages", "there are"),
    ],
)
def test_of_completions(server: Server, body: dict[str, Any], field: str, said: str, stream: bool) -> None:
    refused(server, "/v1/completions", {"prompt": "x", "stream": stream, **body}, field, said)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        *BOTH,
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": ["hello"]}, "messages[0]", "object"),
        ({"messages": [*TALK, {"content": "x"}]}, "messages[1].role", "missing"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role", "'user'"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "give a text or a list of parts"),
        ({"messages": [*TALK, {"role": "user"}]}, "messages[1].content", "give a text"),
        ({"messages": [{"role": "user", "content": "x", "nme": "y"}]}, "messages[0].nme", "did you mean 'name'?"),
        ({"messages": [{"role": "user", "content": "x " * 5000}]}, "messages", "shorten"),
        (says({"type": "text", "text": "a"}, IMAGE), "messages[0].content[1].image_url", "texts alone"),
        (says({"type": "input_audio", "input_audio": {}}), "messages[0].content[0].input_audio", "texts alone"),
        (says({"type": "text"}), "messages[0].content[0].text", "missing"),
        (says({"type": "text", "text": "a"}, {"type": "text", "text": 3}), "messages[0].content[1].text", "string"),
        (says("a"), "messages[0].content[0]", "object"),
        (called(), "messages[1].tool_calls[0].function", "missing"),
        (called(function={"name": "f", "arguments": {}}), "messages[1].tool_calls[0].function.arguments", "string"),
        (called(type="custom", function={"name": "f", "arguments": ""}), "messages[1].tool_calls[0].type", "function"),
        ({"min_tokens": 9, "max_completion_tokens": 3}, "min_tokens", "0 up to"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "1"),
        (form(NEVER), "response_format.json_schema.schema", "Invalid type: nothing"),
        (form(DEEP), "response_format.json_schema.schema", "Invalid type: nothing"),
        (form(False), "response_format.json_schema.schema", "not"),
        (form(3), "response_format.json_schema.schema", "give a JSON schema"),
        (schema_form(), "response_format.json_schema.schema", "give a JSON schema"),
        (schema_form(schem={}), "response_format.json_schema.schem", "did you mean 'schema'?"),
        (schema_form(schema={}, strict=3), "response_format.json_schema.strict", "boolean"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "give a JSON schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "'json_object'"),
        ({"response_format": {"type": "json_object"}, **tools({})}, "response_format", "only one"),
        ({"structured_outputs": {"regex": "a"}, **tools({})}, "structured_outputs", "only one"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing"),
        (tools({}, {"name": "a b"}), "tools[1].function.name", "letters, digits"),
        (tools({}, {"name": "f0"}), "tools[1].function.name", "another tool's name"),
        (tools({}, {"parameters": 3}), "tools[1].function.parameters", "object"),
        (tools({}, {"parameters": NEVER}), "tools[1].function.parameters.type", "give 'object'"),
        (tools({}, {"parameters": DEEP}), "tools[1].function.parameters", "Invalid type: nothing"),
        (tools({}, {"parameters": DEEP}, choice=chosen("f1")), "tools[1].function.parameters", "Invalid type: nothing"),
        (tools({}, {"params": {}}), "tools[1].function.params", "did you mean 'parameters'?"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"tool_choice": "some"}, "tool_choice", "'required'"),
        ({"tool_choice": 3}, "tool_choice", "give 'none', 'auto', 'required'"),
        ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name", "missing"),
        (tools({}, choice=chosen("g")), "tool_choice.function.name", "there is f0"),
        ({"top_logprobs": 2}, "top_logprobs", "logprobs: true"),
        ({"metadata": {"str": 3}}, "metadata.str", "string"),
    ],
)
def test_of_chats(server: Server, body: dict[str, Any], field: str, said: str, stream: bool) -> None:
    refused(server, "/v1/chat/completions", {"messages": TALK, "stream": stream, **body}, field, said)


@pytest.mark.parametrize(
    ("path", "body", "field", "said"),
    [
        ("/detokenize", {"tokens": 3}, "tokens", "array"),
        ("/detokenize", {"tokens": [1, "a"]}, "tokens[1]", "integer"),
        ("/detokenize", {"tokens": [1, 99999999]}, "tokens[1]", "0 to 2879"),
        ("/tokenize", {"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role", "'user'"),
        ("/tokenize", says({"type": "text", "text": "a"}, IMAGE), "messages[0].content[1].image_url", "texts alone"),
        ("/tokenize", {"prompt": 3}, "prompt", "string"),
        ("/tokenize", {"prompt": "x", "messages": TALK}, "prompt", "one of the two"),
        ("/v1/embeddings", {"input": 3}, "input", "give a text or a list of texts"),
        ("/v1/embeddings", {"input": ["a", 3]}, "input[1]", "string"),
        ("/v1/embeddings", {"input": []}, "input", "give 1 to"),
        ("/v1/embeddings", {"input": "a", "dimensions": 3}, "dimensions", "leave it out"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "x"}, "encoding_format", "'base64'"),
        ("/v1/embeddings", {"inputs": "a"}, "inputs", "did you mean 'input'?"),
    ],
)
def test_of_the_others(server: Server, path: str, body: dict[str, Any], field: str, said: str) -> None:
    refused(server, path, body, field, said)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"inputs": 3}, "inputs", "object"),
        ({"inputs": {"items": []}}, "inputs.tone", "it is missing; wanted: choice"),
        ({"inputs": {"itms": []}}, "inputs.itms", "it has items, tone, note"),
        ({"items": 3}, "inputs.items", "wanted: list"),
        ({"items": [{"name": "a", "size": 1}, {"name": "b"}]}, "inputs.items[1].size", "missing; wanted: int"),
        ({"items": [{"name": 3, "size": 1}]}, "inputs.items[0].name", "wanted: str"),
        ({"items": ["a"]}, "inputs.items[0]", "expected"),
        ({"tone": "fair"}, "inputs.tone", '"good"'),
        ({"note": 3}, "inputs.note", "wanted: str"),
        ({"seed": -1}, "seed", "0"),
        ({"timeout": 0}, "timeout", "0"),
    ],
)
def test_of_programs(server: Server, body: dict[str, Any], field: str, said: str, stream: bool) -> None:
    right: dict[str, Any] = {"items": [], "tone": "good"}
    given = {k: body[k] for k in ("items", "tone", "note") if k in body}
    rest = {k: v for k, v in body.items() if k not in given}
    refused(server, "/programs/Sort", {"inputs": right | given, "stream": stream, **rest}, field, said)


def test_of_a_map_of_a_program() -> None:
    wanted = Record((("by", MapOf(Scalar("int"))),))
    assert wrong_place({"by": {"x": 1, "y z": "2"}}, wanted, ("inputs",)) == (
        'inputs.by["y z"]',
        "expected int, got '2'; wanted: int",
    )
    assert wrong_place({"by": {"x": 1}}, wanted, ("inputs",)) is None


@dataclasses.dataclass
class Person:
    name: str
    size: int = 1


def test_a_field_with_a_default_is_not_missing() -> None:
    wanted = Record((("of", to_type(Person)),))
    assert wrong_place({"of": {"name": 5}}, wanted, ("inputs",)) == (
        "inputs.of.name",
        "expected str, got 5; wanted: str",
    )
    assert wrong_place({"of": {"name": "a"}}, wanted, ("inputs",)) is None
    assert wrong_place({"of": {}}, wanted, ("inputs",)) == ("inputs.of.name", "it is missing; wanted: str")
