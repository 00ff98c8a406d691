"""An open loop of streamed completions from one process: requests go out when they are due, whatever was answered."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
from engine_bench.measure import percentile


@dataclass(frozen=True, slots=True)
class Order:
    """A request: `at` in seconds from the beginning. `leaves`: its client hangs up so many seconds after that."""

    at: float
    body: dict[str, Any]
    group: str = ""
    leaves: float | None = None


@dataclass(slots=True)
class Answer:
    """What became of an order. `status` 0: its client left. Seconds count from when it was due, `late` until it was
    sent; `tokens` as the server counted them."""

    order: Order
    status: int = 0
    late: float = 0.0
    first: float = math.nan
    end: float = math.nan
    tokens: int = 0
    code: str = ""
    retry_after: str = ""


class Client:
    """Sends orders to `url`. To be used within an event loop."""

    def __init__(self, url: str, timeout: float = 600.0) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=timeout)
        )

    async def close(self) -> None:
        await self._session.close()

    async def play(self, orders: Iterable[Order], told: Callable[[Answer], None]) -> None:
        """Carries out all orders, which come by their time, and tells of each answer. Raises what a request raises."""
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for order in orders:
                wait = begun + order.at - time.perf_counter()
                if wait > 0:
                    await asyncio.sleep(wait)
                group.create_task(self._one(order, begun + order.at, told))

    async def _one(self, order: Order, due: float, told: Callable[[Answer], None]) -> None:
        answer = Answer(order, late=time.perf_counter() - due)
        with suppress(TimeoutError):
            async with asyncio.timeout(order.leaves):
                await self._ask(order, due, answer)
        told(answer)

    async def _ask(self, order: Order, due: float, answer: Answer) -> None:
        last = b""
        async with self._session.post(f"{self._url}/v1/completions", json=order.body) as response:
            if response.status != 200:
                found = json.loads(await response.read())["error"]
                answer.code, answer.retry_after = str(found["code"]), response.headers.get("retry-after", "")
                answer.status = response.status
            else:
                async for part in response.content.iter_any():
                    if answer.first != answer.first:
                        answer.first = time.perf_counter() - due
                    last = (last + part)[-2000:]
        answer.end = time.perf_counter() - due
        if response.status != 200:
            return
        events = [e for e in last.decode().split("\n\n") if e.startswith("data: {")]
        found = json.loads(events[-1].removeprefix("data: "))
        if "error" in found:
            answer.status, answer.code = 408, str(found["error"]["code"])
        else:
            answer.status, answer.tokens = 200, found["usage"]["completion_tokens"]


def body(model: str, prompt: Sequence[int], out: int, **more: Any) -> dict[str, Any]:
    """A streamed completion of exactly `out` tokens."""
    return {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": out,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }


def spread(values: Iterable[float]) -> dict[str, float]:
    """p50, p90, p99 and the largest, in seconds."""
    found = sorted(v for v in values if v == v) or [math.nan]
    return {f"p{q}": round(percentile(found, q), 5) for q in (50, 90, 99)} | {"max": round(found[-1], 5)}
