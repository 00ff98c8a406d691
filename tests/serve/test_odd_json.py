"""JSON that few clients write: an answer or a clear 400, whole or streamed, wherever it stands in a body."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.runtime.serve import Program, Server
from tests.serve.conftest import served

SOURCE = "module M(x: str, many: list[float], n: int?) -> (n: int?) { return (n: n); }"
TALK = '"max_tokens":2,"messages":[{"role":"user","content":"x"}]'
VALUES = {
    "deep": "[" * 3000 + "]" * 3000,
    "nested": "[" * 150 + "]" * 150,
    "objects": '{"a":' * 150 + "1" + "}" * 150,
    "schemas": '{"items":' * 150 + "{}" + "}" * 150,
    "twice": '{"type":"string","type":"object"}',
    "huge": "1e999",
    "long": "1" + "0" * 400,
    "longest": "1" + "0" * 5000,
    "nan": "NaN",
    "bound": '{"minimum":1e999}',
    "digits": '{"maximum":1' + "0" * 400 + "}",
    "half": '"\\ud800"',
    "other half": '"\\udc00"',
    "both": '"\\ud83d\\ude00"',
    "key": '{"\\ud800":1}',
    "zero": '"\\u0000"',
    "itself": '{"$ref":"#"}',
}
PLACES = {
    "/v1/completions": [
        '"max_tokens":2,"prompt":%s',
        '"max_tokens":2,"prompt":[%s]',
        '"prompt":"x","max_tokens":%s',
        '"prompt":"x","max_tokens":2,"stop":%s',
        '"prompt":"x","max_tokens":2,"stop":[%s]',
        '"prompt":"x","max_tokens":2,"seed":%s',
        '"prompt":"x","max_tokens":2,"logit_bias":{"5":%s}',
        '"prompt":"x","max_tokens":2,"structured_outputs":{"json":%s}',
        '"prompt":"x","max_tokens":2,"structured_outputs":{"choice":[%s]}',
    ],
    "/v1/chat/completions": [
        '"max_tokens":2,"messages":%s',
        '"max_tokens":2,"messages":[{"role":"user","content":%s}]',
        '"max_tokens":2,"messages":[{"role":"user","content":[{"type":"text","text":%s}]}]',
        TALK + ',"tools":[{"type":"function","function":{"name":%s}}]',
        TALK + ',"tools":[{"type":"function","function":{"name":"f","parameters":%s}}]',
        TALK + ',"tool_choice":"required","tools":[{"type":"function","function":{"name":"f","parameters":%s}}]',
        TALK + ',"response_format":{"type":"json_schema","json_schema":{"schema":%s}}',
    ],
    "/programs/M": [
        '"inputs":%s',
        '"inputs":{"x":%s,"many":[]}',
        '"inputs":{"x":"a","many":[%s]}',
        '"inputs":{"x":"a","many":[],"n":%s}',
    ],
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served(Program("M", compile_lmp(SOURCE, "m.lmp"))) as server:
        yield server


def post(server: Server, path: str, body: str) -> httpx.Response:
    head = {"content-type": "application/json"}
    return httpx.post(f"{server.url}{path}", content=body, headers=head, trust_env=False, timeout=60)


@pytest.mark.parametrize("value", VALUES)
def test_odd_values_are_taken_or_refused(server: Server, value: str) -> None:
    for path, places in PLACES.items():
        for place in places:
            body = place.replace("%s", VALUES[value])
            got = post(server, path, f"{{{body}}}")
            streamed = post(server, path, f'{{"stream":true,{body}}}')
            assert got.status_code == streamed.status_code
            assert got.status_code in (200, 400), (body[:200], got.text)
            if got.status_code == 200:
                assert '"error"' not in streamed.text, (body[:200], streamed.text)
                continue
            error = got.json()["error"]
            assert error["message"]
            assert len(error["message"]) < 1100
            if '"json":' in place or "schema" in place or "parameters" in place:
                assert "%json" not in error["message"], error
            if error["code"] != "invalid_json":
                assert error["param"], error


@pytest.mark.parametrize("value", ["nan", "huge", "bound"])
def test_numbers_that_schemas_cannot_have_are_told(server: Server, value: str) -> None:
    schema = VALUES[value] if value == "bound" else f'{{"const":{VALUES[value]}}}'
    got = post(server, "/v1/completions", f'{{"prompt":"x","structured_outputs":{{"json":{schema}}}}}')
    assert got.status_code == 400
    assert got.json()["error"]["message"].startswith("structured_outputs.json is not JSON: Out of range float")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", '{"prompt":"x","model":"%s"}'),
        ("/v1/completions", '{"prompt":"x","structured_outputs":{"json":{"type":"%s"}}}'),
        ("/programs/M", '{"inputs":{"x":"a","many":[],"n":"%s"}}'),
    ],
)
def test_errors_are_short_whatever_they_quote(server: Server, path: str, body: str) -> None:
    got = post(server, path, body % ("ab" * 100_000))
    assert got.status_code in (400, 404)
    assert len(got.text) < 1200


def test_parameters_of_forced_tools_refer_to_their_own_definitions(server: Server) -> None:
    own = (
        '{"type":"object","properties":{"p":{"$ref":"#/$defs/P"}},"required":["p"],"additionalProperties":false,'
        '"$defs":{"P":{"enum":["%s"]}}}'
    )
    tool = '{"type":"function","function":{"name":"%s","parameters":%s}}'
    tools = [tool % ("f", own % "left"), tool % ("g", own % "right")]
    for given, names in ((tools[:1], {"f": "left"}), (tools, {"f": "left", "g": "right"})):
        body = f'{{"messages":[{{"role":"user","content":"x"}}],"tool_choice":"required","tools":[{",".join(given)}]}}'
        got = post(server, "/v1/chat/completions", body)
        assert got.status_code == 200, got.text
        (call,) = got.json()["choices"][0]["message"]["tool_calls"]
        assert call["function"]["arguments"] == f'{{"p": "{names[call["function"]["name"]]}"}}'


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("more", "arguments"),
    [
        ('"$id":"https://localhost/f","properties":{"p":{"$ref":"#/$defs/P"}},"$defs":{"P":{"enum":[1]}}', '{"p": 1}'),
        ('"properties":{"p":{"const":{"$ref":"#/x"}}}', '{"p": {"$ref": "#/x"}}'),
        ('"properties":{"p":{"enum":[{"$ref":"#"}]}}', '{"p": {"$ref": "#"}}'),
        ('"properties":{"p":{"enum":[1]},"const":{"$ref":"#/properties/p"}}', '{"p": 1, "const": 1}'),
    ],
)
def test_what_only_looks_like_a_reference_stays(server: Server, more: str, arguments: str, several: bool) -> None:
    names = '"p","const"' if '"const":{"$ref":"#/p' in more else '"p"'
    schema = f'{{"type":"object","required":[{names}],"additionalProperties":false,{more}}}'
    tool = '{"type":"function","function":{"name":"%s","parameters":%s}}'
    tools = ",".join(tool % (name, schema) for name in ("fg" if several else "f"))
    body = f'{{"messages":[{{"role":"user","content":"x"}}],"tool_choice":"required","tools":[{tools}]}}'
    got = post(server, "/v1/chat/completions", body)
    assert got.status_code == 200, got.text
    (call,) = got.json()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == arguments
