"""Servers of firefly on this machine, and clients of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from lampc.backend import Engine, load_engine
from lampc.frontend.lmp import compile_lmp
from lampc.runtime.engine_process import EngineProcess
from lampc.runtime.pool import firefly_folder
from lampc.runtime.serve import App, Limits, Program, Server
from tests.slow import Slow

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def example(name: str) -> Program:
    """A program of the examples."""
    file = EXAMPLES / f"{name}.lmp"
    unit = compile_lmp(file.read_text(encoding="utf-8"), str(file))
    return Program(unit.entry, unit, base=EXAMPLES)


@contextlib.contextmanager
def served(
    *programs: Program, apart: bool = False, slow: bool = False, log_level: str = "warning", **options: Any
) -> Iterator[Server]:
    """A server of firefly, with options of `App`; nothing of it is left when it ends. `apart`: its engine has a
    process of its own, as that of `lampc serve` has; `slow`: one of this process takes its time."""
    make: Any = EngineProcess if apart else load_engine
    engine = make(firefly_folder(), kv_tokens=20_000, **({"hooks": [Slow()]} if slow else {}))
    with Server(App(engine, found=programs, **options), port=0, log_level=log_level) as server:
        yield server
        left_nothing(server)


@contextlib.contextmanager
def standing_still(server: Server) -> Iterator[None]:
    """The engine of a server, which has a process of its own, computes nothing meanwhile: whatever is asked with a
    limit of time is late, however long this process was kept from looking at the clock."""
    engine = server.app.service.engine.loop
    assert isinstance(engine, EngineProcess)
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(engine.pid, signal.SIGCONT)


def left_nothing(server: Server) -> None:
    """No request under way, no block held, no leak."""

    async def settled() -> int:
        for _ in range(200):
            if not server.app.service.engine.under_way and len(asyncio.all_tasks()) <= 3:
                break
            await asyncio.sleep(0.05)
        return len(asyncio.all_tasks()) - 3  # this one, and two that uvicorn has all the time

    engine = server.app.service.engine
    assert engine._mailbox is not None
    tasks = asyncio.run_coroutine_threadsafe(settled(), engine._mailbox._loop).result(30)
    assert engine.under_way == 0
    assert tasks <= 0

    for question in ("check", "reset_cache"):
        engine.loop.asking(question).result(30)
    assert engine.loop.asking("stats").result(30).used_blocks == 0


def client(server: Server, key: str = "none") -> openai.OpenAI:
    """The official client, which does not try again."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60)


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    with served(example("01_classify"), example("03_two_hop"), apart=True, limits=Limits(queue=256)) as made:
        yield made


@pytest.fixture
def api(server: Server) -> Iterator[openai.OpenAI]:
    with client(server) as made:
        yield made


@pytest.fixture(scope="package")
def alone() -> Iterator[Engine]:
    """The same model without a server."""
    with Engine.load(firefly_folder(), kv_tokens=20_000) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
