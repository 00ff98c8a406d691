"""What one call of a chat endpoint costs in CPU: the official client against ours, over a loopback server.

    python benchmarks/providers.py

The server is an asyncio protocol in a process of its own and answers at once, so the figures are those of the clients.
Rivals run in turns in one process; CPU is that of the process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import append, in_turns, machine, median

ROUNDS = 3
CALLS = 400
MESSAGES = [
    {"role": "system", "content": "Your input fields are:\n1. `question` (str)\n" * 20},
    {"role": "user", "content": "[[ ## question ## ]]\nWho wrote it?"},
]


def start_server() -> tuple[subprocess.Popen[str], str]:
    """An endpoint that answers at once, and its URL."""
    path = Path(__file__).with_name("_instant_server.py")
    process = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


def cpu(work: Callable[[], Any]) -> float:
    """Milliseconds of CPU a call."""
    before = time.process_time()
    work()
    return (time.process_time() - before) / CALLS * 1e3


def main() -> None:
    import httpx
    import openai

    from lampc.runtime.providers import OpenAIClient

    process, url = start_server()
    try:
        plain = openai.OpenAI(base_url=url, api_key="x")
        ours = OpenAIClient(url, "m", max_concurrency=16)
        body: dict[str, Any] = {"model": "m", "messages": MESSAGES, "temperature": 0.0}

        def openai_one_by_one() -> None:
            for _ in range(CALLS):
                plain.chat.completions.create(**body)

        def openai_async() -> None:
            async def run() -> None:
                async with openai.AsyncOpenAI(base_url=url, api_key="x") as client:
                    slots = asyncio.Semaphore(16)

                    async def one() -> None:
                        async with slots:
                            await client.chat.completions.create(**body)

                    await asyncio.gather(*(one() for _ in range(CALLS)))

            asyncio.run(run())

        def httpx_async() -> None:
            async def run() -> None:
                async with httpx.AsyncClient() as client:
                    slots = asyncio.Semaphore(16)

                    async def one() -> None:
                        async with slots:
                            (await client.post(f"{url}/chat/completions", json=body)).json()

                    await asyncio.gather(*(one() for _ in range(CALLS)))

            asyncio.run(run())

        def ours_one_by_one() -> None:
            for _ in range(CALLS):
                ours.complete(MESSAGES, temperature=0.0)

        def ours_together() -> None:
            for future in [ours.submit(MESSAGES, temperature=0.0) for _ in range(CALLS)]:
                future.result()

        work = {
            "openai": openai_one_by_one,
            "openai_async": openai_async,
            "httpx_async": httpx_async,
            "ours": ours_one_by_one,
            "ours_together": ours_together,
        }
        for one in work.values():
            one()  # connections and imports
        found = in_turns({n: (lambda w=w: cpu(w)) for n, w in work.items()}, ROUNDS)  # type: ignore[misc]
        figures = {n: round(median(v), 3) for n, v in found.items()}
        for name, figure in figures.items():
            print(f"{name:16} {figure:7.3f} ms of CPU a call")
        ratio = figures["openai_async"] / figures["ours_together"]
        print(f"many calls under way: the official client's CPU is {ratio:.1f} times ours")
        append("providers", {"cpu_ms": figures, "calls": CALLS, **machine("openai", "httpx", "aiohttp")})
        ours.close()
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    main()
