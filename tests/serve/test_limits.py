"""Who may ask, how much one request may take, and what is answered when it is too much."""

from __future__ import annotations

import functools
import json
import re
import socket
import threading
import time
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lampc.backend.prometheus import METRICS
from lampc.runtime.serve import Limits, Server, front
from tests.serve.conftest import EXAMPLES, client, example, served, standing_still

LONG = {"prompt": "the cat", "max_tokens": 1500, "ignore_eos": True, "temperature": 0}


def post(server: Server, path: str, body: Any, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=60, trust_env=False, **options)


def test_keys() -> None:
    with served(keys=["one", "two"]) as server:
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
        for path in ("/v1/models", "/metrics", "/programs"):
            assert httpx.get(f"{server.url}{path}", trust_env=False).status_code == 401
        with client(server, "two") as api:
            assert [m.id for m in api.models.list()] == ["firefly"]
        with client(server, "three") as api, pytest.raises(openai.AuthenticationError, match="key is wanted"):
            api.completions.create(model="firefly", prompt="x")


def test_only_this_machine_is_answered_without_keys(server: Server) -> None:
    def asked(host: str) -> int:
        return httpx.get(f"{server.url}/v1/models", headers={"host": host}, trust_env=False).status_code

    assert asked("evil.example") == asked("evil.example:8000") == 403
    assert asked("localhost") == asked(f"127.0.0.1:{server.port}") == asked("[::1]:80") == 200


def test_an_empty_stop_text_is_refused_by_name(server: Server) -> None:
    for path, asked in (
        ("completions", {"prompt": "x"}),
        ("chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
    ):
        error = post(server, f"/v1/{path}", {**asked, "stop": ["a", ""]}).json()["error"]
        assert (error["code"], error["param"]) == ("invalid_value", "stop[1]")
        assert error["message"] == "stop[1]: String should have at least 1 character"
        assert post(server, f"/v1/{path}", {**asked, "stop": ["a"], "max_tokens": 1}).status_code == 200


def test_bodies_are_bounded_and_json() -> None:
    with served(limits=Limits(body=1000, choices=8, tokens=5)) as server:
        for stream in (False, True):  # with and without a content-length
            text = json.dumps({"prompt": "x" * 2000}).encode()
            content = iter([text[:900], text[900:]]) if stream else text
            headers = {"content-type": "application/json"}
            url = f"{server.url}/v1/completions"
            got = httpx.post(url, content=content, headers=headers, trust_env=False)
            assert got.status_code == 413
        assert httpx.post(f"{server.url}/v1/completions", content=b"{}", trust_env=False).status_code == 415
        for broken in (b"", b"[]", b'{"prompt": ', b'{"prompt": "\\ud800"}', b"[" * 900, b"\xff"):
            got = httpx.post(f"{server.url}/v1/completions", content=broken, headers=headers, trust_env=False)
            assert got.status_code == 400
        assert post(server, "/v1/completions", {"prompt": "x", "n": 9}).status_code == 400
        got = post(server, "/v1/completions", {"prompt": "the cat", "max_tokens": 1000, "ignore_eos": True})
        assert got.json()["usage"]["completion_tokens"] == 5


def test_what_is_held_of_bodies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "BODIES", 2)
    head = (
        b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    )
    with served(limits=Limits(body=1000)) as server:
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        for raw in slow:
            raw.settimeout(30)
            raw.sendall(head + b"x" * 900)
            time.sleep(0.05)
        assert b" 503 " in slow[-1].recv(4096)
        for raw in slow:
            raw.close()
        for _ in range(100):
            if post(server, "/tokenize", {"prompt": "y" * 900}).status_code == 200:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("bodies that were left are still held")


def test_paths_and_methods(server: Server) -> None:
    assert httpx.request("PROPFIND", f"{server.url}/v1/models", trust_env=False).status_code == 405
    assert 'method="PROPFIND"' not in httpx.get(f"{server.url}/metrics", trust_env=False).text
    assert httpx.get(f"{server.url}/v2", trust_env=False).status_code == 404
    got = httpx.get(f"{server.url}/v1/completions", trust_env=False)
    assert got.status_code == 405
    assert got.headers["allow"] == "POST"
    assert got.json()["error"]["message"]


def test_time_is_bounded() -> None:
    with served(limits=Limits(seconds=0.3)) as server:
        begun = time.monotonic()
        got = post(server, "/v1/completions", {**LONG, "n": 4})
        assert got.status_code == 504
        assert got.json()["error"]["code"] == "timeout"
        assert time.monotonic() - begun < 20
        text = post(server, "/v1/completions", {**LONG, "stream": True, "timeout": 0.2}).text
        assert '"code":"timeout"' in text


@pytest.mark.parametrize("queue", [1, 3, 4])
def test_a_full_queue_is_said(queue: int) -> None:
    with served(limits=Limits(queue=queue)) as server:
        got: list[httpx.Response] = []
        long = functools.partial(post, server, "/v1/completions", LONG)
        others = [threading.Thread(target=lambda: got.append(long())) for _ in range(queue)]
        for other in others:
            other.start()
        engine = server.app.service.engine
        for _ in range(400):
            if engine.under_way == queue:
                break
            time.sleep(0.005)
        full = post(server, "/v1/completions", {"prompt": "x", "max_tokens": 1})
        given = {"completions": {"prompt": ""}, "chat/completions": {"messages": [{"role": "user", "content": "x"}]}}
        unread = [post(server, f"/v1/{path}", {**body, "model": "nobody"}) for path, body in given.items()]
        urgent = post(server, "/v1/completions", {"prompt": "x", "max_tokens": 1, "priority": 5})
        for other in others:
            other.join()
        assert full.status_code == 429
        assert [one.status_code for one in unread] == [429, 429]  # no other work is done before
        assert full.headers["retry-after"] == "1"
        assert full.json()["error"]["type"] == "rate_limit_error"
        assert urgent.status_code == 200
        assert [g.status_code for g in got] == [200] * queue
        assert len({g.json()["choices"][0]["text"] for g in got}) == 1


def test_more_than_ever_fits_is_no_matter_of_trying_again() -> None:
    with served(limits=Limits(queue=2)) as server:
        for path, given in (
            ("completions", {"prompt": "x"}),
            ("chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ):
            got = post(server, f"/v1/{path}", {**given, "n": 3, "max_tokens": 1})
            assert (got.status_code, got.json()["error"]["param"]) == (400, "n")
            assert "at most 2 fit" in got.json()["error"]["message"]
        got = post(server, "/v1/completions", {"prompt": ["x"] * 3, "max_tokens": 1})
        assert (got.status_code, got.json()["error"]["param"]) == (400, "prompt")


def test_health_and_metrics(server: Server) -> None:
    def counts() -> dict[str, float]:
        text = httpx.get(f"{server.url}/metrics", trust_env=False).text
        return {
            s.name + str(sorted(s.labels.items())): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }

    before = counts()
    assert (
        post(server, "/v1/completions", {"prompt": "the cat", "max_tokens": 5, "ignore_eos": True}).status_code == 200
    )
    assert post(server, "/v1/completions", {"prompt": 5}).status_code == 400
    after = counts()

    def grown(name: str, **labels: str) -> float:
        at = name + str(sorted(labels.items()))
        return after[at] - before.get(at, 0.0)

    assert grown("lampc_generated_tokens_total", model="firefly") == 5
    assert grown("lampc_requests_total", model="firefly") == 1
    assert grown("lampc_time_to_first_token_seconds_count", model="firefly") == 1
    assert grown("lampc_http_requests_total", method="POST", path="/v1/completions", status="200") == 1
    assert grown("lampc_http_requests_total", method="POST", path="/v1/completions", status="400") == 1
    assert httpx.get(f"{server.url}/health", trust_env=False).json()["status"] == "ok"


def test_every_metric_of_the_engine_is_there(server: Server) -> None:
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    known = {f.name for f in text_string_to_metric_families(text)}
    assert {m.name.removesuffix("_total") for m in METRICS} <= known
    assert len(METRICS) > 30


def test_a_slow_reader_gets_everything(server: Server) -> None:
    body = json.dumps({"prompt": "the cat", "max_tokens": 300, "ignore_eos": True, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.settimeout(30)
        head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        raw.sendall(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        time.sleep(0.3)
        text = b""
        while part := raw.recv(4096):
            text += part
    assert text.count(b'"finish_reason":"length"') == 1
    assert b"data: [DONE]" in text


def test_programs_are_bounded_too() -> None:
    body = {"inputs": {"question": "where does the boss of cora live ?"}, "timeout": 0.001}
    with served(example("03_two_hop"), apart=True) as server, standing_still(server):
        assert post(server, "/programs/TwoHop", body).status_code == 408
        assert '"code":"timeout"' in post(server, "/programs/TwoHop", {**body, "stream": True}).text


def test_the_dashboard_shows_metrics_that_there_are(server: Server) -> None:
    post(server, "/v1/completions", {"prompt": "the cat", "max_tokens": 2})
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    known = {s.name for family in text_string_to_metric_families(text) for s in family.samples}
    panels = json.loads((EXAMPLES.parent / "docs" / "grafana.json").read_text(encoding="utf-8"))["panels"]
    shown = {m for p in panels for t in p["targets"] for m in re.findall(r"lampc_\w+", t["expr"])}
    assert shown <= known
    assert len(shown) > 20
