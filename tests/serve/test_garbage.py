"""An answer that is over is gone: full garbage collections, which stop the whole server, find nothing."""

from __future__ import annotations

import contextlib
import gc
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from lampc.runtime.serve import Server
from tests.serve.conftest import standing_still

ASKED: dict[str, tuple[str, dict[str, Any], int]] = {
    "whole": ("/v1/completions", {"prompt": "the cat", "n": 2, "max_tokens": 4}, 200),
    "streamed": ("/v1/completions", {"prompt": [100, 101], "max_tokens": 9, "stream": True, "logprobs": 2}, 200),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}, 200),
    "program": ("/programs/TwoHop", {"inputs": {"question": "where does the boss of cora live ?"}}, 200),
    "program streamed": ("/programs/Classifier", {"inputs": {"text": "the wifi is slow"}, "stream": True}, 200),
    "program late": ("/programs/TwoHop", {"inputs": {"question": "where ?"}, "timeout": 1e-6}, 408),
    "wrong": ("/v1/completions", {"prompt": "x", "max_tokens": -1}, 400),
    "refused by the engine": ("/v1/completions", {"prompt": "x", "structured_outputs": {"grammar": "start: /(/"}}, 400),
    "refused": ("/v1/completions", {"prompt": "x", "n": 100}, 429),
    "late": ("/v1/completions", {"prompt": "x", "max_tokens": 1900, "ignore_eos": True, "timeout": 0.05}, 408),
}
TIMES = 8


@pytest.fixture
def _collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.usefixtures("_collector")
@pytest.mark.parametrize("kind", ASKED)
def test_no_answer_leaves_garbage(server: Server, kind: str) -> None:
    path, body, status = ASKED[kind]
    engine = server.app.service.engine
    opener = build_opener(ProxyHandler({}))

    def ask(body: dict[str, Any] = body) -> int:
        request = Request(f"{server.url}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
        try:
            with opener.open(request, timeout=30) as answer:
                answer.read()
                return int(answer.status)
        except HTTPError as e:
            e.close()
            return e.code

    if "inputs" in body:
        assert (
            ask({"inputs": {k: f"{v} now ?" for k, v in body["inputs"].items()}}) == 200
        )  # a program is lowered once, which leaves something
    before = engine.under_way
    engine.under_way += 200 if kind == "refused" else 0
    try:
        with standing_still(server) if kind == "program late" else contextlib.nullcontext():
            assert [ask() for _ in range(3)] == [status] * 3
            time.sleep(0.2)  # who answers has something to do after the last byte
            gc.collect()
            for _ in range(TIMES):
                ask()
        time.sleep(0.2)
    finally:
        engine.under_way = before
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    ours = [o for o in gc.garbage if type(o).__module__.startswith(("lampc", "starlette"))]
    assert len(ours) < TIMES, [type(o).__name__ for o in ours]
