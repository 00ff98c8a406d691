"""Clients that leave: what they asked for ends with them, and nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from typing import Any

import pytest

from lampc.runtime.serve import Server
from tests.serve.conftest import example, left_nothing, served

CHAT = {"messages": [{"role": "user", "content": "ann has 3 pens . how many ?"}], "max_tokens": 800, "ignore_eos": True}
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": "the cat", "max_tokens": 800, "ignore_eos": True, "n": 2}),
    ("/v1/completions", {"prompt": "the cat", "max_tokens": 800, "ignore_eos": True, "stream": True, "logprobs": 2}),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/chat/completions", {**CHAT, "response_format": {"type": "json_object"}}),
    ("/programs/TwoHop", {"inputs": {"question": "where does the boss of cora live ?"}}),
    ("/programs/TwoHop", {"inputs": {"question": "where does the boss of dora live ?"}, "stream": True}),
]


def vanish(server: Server, rng: random.Random) -> None:
    """Send a request, or a part of one, and leave: at once, after a moment, or in the midst of the answer."""
    path, body = rng.choice(KINDS)
    if "inputs" in body:
        body = {**body, "seed": rng.randrange(1 << 30)}  # not one that was answered before
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    whole = f"{head}content-length: {len(text)}\r\n\r\n".encode() + text
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.settimeout(0.3)
        how = rng.randrange(4)
        raw.sendall(whole[: rng.randrange(len(whole))] if how == 0 else whole)
        if how == 2:
            time.sleep(rng.random() * 0.05)
        if how == 3:
            with contextlib.suppress(TimeoutError):
                raw.recv(rng.randrange(1, 400))
        if rng.random() < 0.5:  # a reset instead of an orderly end
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def test_two_hundred_clients_that_vanish_leave_nothing() -> None:
    with served(example("03_two_hop")) as server:

        def some(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(20):
                vanish(server, rng)

        threads = [threading.Thread(target=some, args=(i,)) for i in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        left_nothing(server)
        programs = server.app.state.programs
        for _ in range(200):
            if not programs.waiting:
                break
            time.sleep(0.05)
        assert programs.waiting == 0
        assert all(h.session.desk.idle for h in programs.hosted.values())


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_client_asked_for_ends_when_it_leaves(stream: bool) -> None:
    body = {"prompt": "the cat", "max_tokens": 1900, "ignore_eos": True, "stream": stream}
    text = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with served(slow=True) as server:
        engine = server.app.service.engine
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(f"{head}content-length: {len(text)}\r\n\r\n".encode() + text)
            while not engine.metrics().running:
                time.sleep(0.001)
        for _ in range(400):
            if not engine.under_way:
                break
            time.sleep(0.01)
        finished = engine.metrics().finished
        assert (finished["abort"], finished["length"]) == (1, 0)
