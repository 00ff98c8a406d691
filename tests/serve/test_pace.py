"""Streams of small models: not a system call for each token, and nothing later for it that anybody waits for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import time
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from lampc.runtime.serve import Limits, Server
from lampc.runtime.serve.pace import Pace
from lampc.runtime.serve.protocol import HEAD, MOST, _Gathering
from tests.serve.conftest import served

MANY: dict[str, Any] = {"prompt": [100, 101], "max_tokens": 400, "ignore_eos": True, "temperature": 0.8, "seed": 3}


def test_a_reader_is_woken_at_once_for_the_first_and_the_last() -> None:
    async def main() -> tuple[list[float], int]:
        loop, pace, woken = asyncio.get_running_loop(), Pace(20.0), list[float]()
        begun = loop.time()

        async def read() -> None:
            for _ in range(3):
                await pace.wait()
                woken.append(loop.time() - begun)
                pace.read()

        reader = asyncio.create_task(read())
        told = 0
        while len(woken) < 2:
            pace.told()
            told += 1
            await asyncio.sleep(0.001)
        pace.ended()
        await reader
        return woken, told

    woken, told = asyncio.run(main())
    assert woken[0] < 0.02
    assert woken[1] - woken[0] >= 0.049
    assert told > 5, "of which most woke nobody"
    assert woken[2] - woken[1] < 0.03, "an end does not wait for its turn"


def test_a_stream_has_at_most_so_many_events_and_the_same_text() -> None:
    with served(limits=Limits(events=10.0)) as server:
        begun = time.monotonic()
        events = _streamed(server, {**MANY, "stream": True})
        seconds = time.monotonic() - begun
        whole = _streamed(server, MANY)[0]
    assert len(events) - 1 <= 10 * seconds + 2, "the last comes when it is there"
    assert "".join(e["choices"][0]["text"] for e in events) == whole["choices"][0]["text"]
    assert events[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("events", [0, -1, "often", None, True])
def test_events_are_a_number_above_0(events: Any) -> None:
    with pytest.raises(ValueError, match=r"the limit events is .*; give a number above 0"):
        Limits(events=events)


def test_logprobs_of_tokens_that_come_together_are_all_there(server: Server) -> None:
    events = _streamed(server, {**MANY, "max_tokens": 60, "stream": True, "logprobs": 1})
    tokens = [e["choices"][0]["logprobs"]["tokens"] for e in events]
    assert len([*itertools.chain(*tokens)]) == 60
    assert max(map(len, tokens)) > 1


def test_what_is_written_in_one_turn_is_one_write() -> None:
    class Transport:
        def __init__(self) -> None:
            self.written: list[bytes] = []
            self.closed = False

        def write(self, data: bytes) -> None:
            self.written.append(data)

        def close(self) -> None:
            self.closed = True

        def is_closing(self) -> bool:
            return self.closed

    async def main() -> None:
        under = Transport()
        over: Any = _Gathering(under)  # type: ignore[arg-type]
        over.write(b"a")
        over.write(b"b")
        assert under.written == []
        await asyncio.sleep(0)
        assert under.written == [b"ab"]
        over.write(b"c" * MOST)
        assert len(under.written) == 1
        over.write(b"d")
        assert len(under.written) == 2, "so that the transport says that it is full"
        over.write(b"e")
        over.close()
        assert under.written[-1] == b"e", "what was written before the end is sent"
        await asyncio.sleep(0)
        over.write(b"f")
        await asyncio.sleep(0)
        assert len(under.written) == 3, "and nothing after it"

    asyncio.run(main())


def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    head = "HTTP/1.1\r\nHost: localhost\r\n"
    asked = f"GET /health {head}\r\nGET /nowhere {head}Connection: close\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as made:
        made.sendall(asked)
        answer = b"".join(iter(lambda: made.recv(1 << 16), b""))
    first, second = answer.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200")
    assert second.startswith(b"404")


@pytest.mark.parametrize("begun", ["GET /health HTTP/1.1\r\nX-Much: ", "GET /", "\r\n"])
def test_a_head_without_end_is_refused(server: Server, begun: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as made:
        made.sendall(begun.encode())
        more = (b"\r\n" if begun == "\r\n" else b"aa") * 4096
        with contextlib.suppress(ConnectionError):  # it may be hung up on before all is sent
            for _ in range(16 * HEAD // len(more)):
                made.sendall(more)
            assert made.recv(1 << 16).startswith(b"HTTP/1.1 400")


def test_trailers_without_end_are_refused_and_bodies_in_many_pieces_are_not(server: Server) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    asked = json.dumps({"prompt": [100] * 40_000, "max_tokens": 1}).encode()
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in asked)
    assert len(pieces) > 4 * HEAD
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as made:
        made.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
        assert b"context" in made.recv(1 << 16), "that the prompt is too long is said of what was read whole"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as made:
        made.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Much: ")
        with pytest.raises(ConnectionError):
            made.sendall(b"a" * (1 << 26))


@pytest.mark.parametrize("behind", [0, 1])
def test_a_client_that_leaves_ends_what_it_asked_for_before_others(behind: int) -> None:
    body = json.dumps({**MANY, "max_tokens": 100_000, "stream": True}).encode()
    head = f"HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with served(slow=True) as server:
        engine = server.app.service.engine
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as made:
            made.sendall(f"POST /v1/completions {head}".encode() + body)
            made.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * behind)
            assert made.recv(1000).startswith(b"HTTP/1.1 200")
            assert engine.under_way == 1
        until = time.monotonic() + 30
        while engine.under_way and time.monotonic() < until:
            time.sleep(0.01)
        registry = server.app.state.registry
        assert registry.get_sample_value("lampc_http_clients_gone_total") == 1, "it was not generated to its end"


def _streamed(server: Server, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of an answer, or the answer."""
    request = Request(f"{server.url}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
        text = answer.read().decode()
    if not body.get("stream"):
        return [json.loads(text)]
    found = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert found.pop() == "[DONE]"
    return [json.loads(line) for line in found]
