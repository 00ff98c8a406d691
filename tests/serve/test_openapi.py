"""The OpenAPI page, and what it promises: whatever is sent, no answer has a status that it does not name, and none is
the server's fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lampc.runtime.serve import Limits, Server
from tests.serve.conftest import example, served

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
VALID: dict[str, dict[str, Any]] = {
    "/v1/completions": {
        "prompt": "the cat",
        "max_tokens": 2,
        "n": 1,
        "logprobs": 1,
        "stop": "x",
        "seed": 1,
        "echo": False,
    },
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 2,
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "temperature": 0.5,
    },
    "/v1/embeddings": {"input": "x"},
    "/tokenize": {"prompt": "the cat"},
    "/detokenize": {"tokens": [1, 2]},
    "/programs/Classifier": {"inputs": {"text": "no mail"}, "seed": 1},
}


@pytest.fixture(scope="module")
def small() -> Iterator[tuple[Server, httpx.Client, dict[str, Any]]]:
    limits = Limits(tokens=4, choices=4, body=1 << 16, seconds=60)
    with (
        served(example("01_classify"), limits=limits) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        yield server, client, client.get("/openapi.json").json()


def test_the_page_is_sound(small: Any) -> None:
    _, client, page = small
    assert page["openapi"].startswith("3.1")
    defs = page["components"]["schemas"]
    for path, operations in page["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (path, method)
            body = operation.get("requestBody")
            if body is not None and "{" not in path:
                schema = body["content"]["application/json"]["schema"]
                whole = {**schema, "components": {"schemas": defs}}
                jsonschema.Draft202012Validator.check_schema(whole)
                jsonschema.validate(VALID[path], whole)
                assert client.post(path, json=VALID[path]).status_code == (400 if path == "/v1/embeddings" else 200)
    assert set(VALID) == {p for p, o in page["paths"].items() if "post" in o and "{" not in p}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_body_gets_a_status_that_is_documented(small: Any, data: st.DataObject) -> None:
    _, client, page = small
    path = data.draw(st.sampled_from(sorted(VALID)))
    valid = VALID[path]
    fields = {name: st.just(value) | JSON for name, value in valid.items()}
    body = data.draw(st.fixed_dictionaries(fields, optional={"stream": st.booleans() | JSON, "model": JSON}) | JSON)
    answer = client.post(path, content=json.dumps(body).encode(), headers={"content-type": "application/json"})
    named = {int(s) for s in page["paths"][path]["post"]["responses"]}
    assert answer.status_code in named
    assert answer.status_code < 500, answer.text
    if answer.status_code != 200:
        jsonschema.validate(answer.json(), page["components"]["schemas"]["Error"])
