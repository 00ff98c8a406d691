"""Ten minutes at twice a server's capacity: does memory stay flat, are refusals clear, do important requests stay fast?

    python benchmarks/soak_serve.py [--minutes 10] [--high 0.2] [--seed 0]

`lampc serve` with the bundled model runs in a process of its own; this process sends streamed completions at the
moments of a seeded Poisson process (an open loop: nobody waits for an answer before the next goes out). Latencies
count from the moment at which a request was due. Three phases:

1. capacity: as many clients as the queue holds, each with one more request; answers per second.
2. unloaded: only the high-priority requests of phase 3, at the same moments.
3. loaded: requests arrive at twice the capacity, a share `--high` of them with priority 1, the others with 0. Of these
   some have a time limit, and some clients leave at a random moment.

Goals: p99 of high priority within twice that of phase 2 (to the first piece of text, and to the end), no high one is
refused, each refusal is a 429 that says when to come back, nothing but 200, 429 and 408 (its own time was over) is
answered, low priority is answered in every tenth of the time, the server's resident memory grows by less than 1 MB a
minute, and in the end nothing is under way and the process ends with 0. The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import numpy as np
from _common import ROOT, append, machine
from _soak import soak_options

sys.path.insert(0, str(ROOT / "src"))

from serve_bench.load import Answer, Client, Order, body, spread
from serve_bench.servers import Served, lampc

from lampc.runtime.pool import firefly_folder

TIMES = 10  # parts of the loaded phase in each of which low priority must be answered
VOCAB = range(8, 2800)


def orders(rate: float, seconds: float, high: float, seed: int) -> Iterator[Order]:
    """Mixed requests: one of eight shared beginnings, own ids, 4 to 32 tokens out."""
    draw = random.Random(seed)
    heads = [[draw.choice(VOCAB) for _ in range(64)] for _ in range(8)]
    at = 0.0
    while (at := at + draw.expovariate(rate)) < seconds:
        prompt = draw.choice(heads) + [draw.choice(VOCAB) for _ in range(draw.randint(4, 48))]
        urgent = draw.random() < high
        more: dict[str, Any] = {"temperature": 0.8, "seed": draw.getrandbits(32), "priority": int(urgent)}
        if not urgent and draw.random() < 0.1:
            more["timeout"] = 5.0
        leaves = draw.random() * 3.0 if not urgent and draw.random() < 0.02 else None
        yield Order(at, body("m", prompt, draw.randint(4, 32), **more), "high" if urgent else "low", leaves)


@dataclass
class Tally:
    """What became of the orders of one group."""

    seconds: float
    statuses: Counter[str] = field(default_factory=Counter)
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)

    def take(self, answer: Answer) -> None:
        """One more."""
        self.statuses[str(answer.status or "left")] += 1
        if answer.status == 200:
            self.first.append(answer.first)
            self.whole.append(answer.end)
            self.at.append(answer.order.at + answer.end)
        refusal = answer.status == 429 and answer.code == "queue_full" and answer.retry_after.isdigit()
        late = answer.status == 408 and answer.code == "timeout" and "timeout" in answer.order.body
        if not (refusal or late or answer.status in (0, 200)) and len(self.unclear) < 10:
            self.unclear.append(f"{answer.status} {answer.code} {answer.retry_after}")

    def as_dict(self) -> dict[str, Any]:
        parts, _ = np.histogram(self.at, bins=TIMES, range=(0.0, self.seconds))
        return {
            "statuses": dict(self.statuses),
            "ttft": spread(self.first),
            "whole": spread(self.whole),
            "answered_per_tenth": parts.tolist(),
        }


class Phase:
    """Sends orders to a server for some seconds and watches its memory."""

    def __init__(self, served: Served, seconds: float) -> None:
        self.served = served
        self.of = {"high": Tally(seconds), "low": Tally(seconds)}
        self.memory: list[tuple[float, float]] = []  # (seconds, bytes)
        self.late = 0.0

    async def run(self, coming: Iterator[Order]) -> None:
        """The whole phase; what was sent is waited for."""
        watch = asyncio.create_task(self._watch())
        client = Client(self.served.url)
        try:
            await client.play(coming, self._told)
        finally:
            await client.close()
            watch.cancel()

    def _told(self, answer: Answer) -> None:
        self.late = max(self.late, answer.late)
        self.of[answer.order.group].take(answer)

    async def _watch(self) -> None:
        begun, pids = time.monotonic(), self.served.pids
        while True:
            self.memory.append((time.monotonic() - begun, sum(map(resident, pids))))
            await asyncio.sleep(0.5)


def resident(pid: int) -> float:
    """Bytes of a process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def slope(memory: list[tuple[float, float]]) -> float:
    """Growth in bytes per second, by least squares over the last four fifths."""
    late = np.array(memory[len(memory) // 5 :])
    return float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) if len(late) > 2 else 0.0


async def capacity(url: str, clients: int, seconds: float, seed: int) -> float:
    """Answers per second while there is always one more for each client."""
    endless = orders(1e9, 1e9, 0.2, seed)
    begun, counted_from, answered = time.monotonic(), 0.0, 0
    client = Client(url)

    def told(answer: Answer) -> None:
        nonlocal answered, counted_from
        if answer.status not in (200, 408):
            raise RuntimeError(f"a request within the server's limits got {answer.status} {answer.code}")
        if time.monotonic() < begun + seconds / 4:  # until the batch is full and the cache warm
            return
        counted_from = counted_from or time.monotonic()
        answered += 1

    async def one() -> None:
        while time.monotonic() < begun + seconds:
            order = next(endless)
            await client.play([Order(0.0, order.body, order.group)], told)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(one())
    finally:
        await client.close()
    return answered / (time.monotonic() - counted_from)


def under_way(url: str) -> int:
    """Generations that the server says are not at their end."""
    for _ in range(100):
        with build_opener(ProxyHandler({})).open(f"{url}/health", timeout=60) as response:
            left = int(json.load(response)["under_way"])
        if not left:
            break
        time.sleep(0.1)
    return left


def main() -> int:
    # Enough places that the urgent ones, of which about five are there at a time, hardly wait for each other.
    urgent = "generations under way; urgent ones find a quarter more"
    parser = soak_options(__doc__, 128, urgent, running=12, tokens=32)
    parser.add_argument("--threads", type=int, default=1, help="of the server's engine")
    args = parser.parse_args()
    seconds = 60.0 * args.minutes
    options = {"kv_tokens": 16384, "max_running": args.running, "max_batch_tokens": args.batch_tokens}
    served = lampc(firefly_folder(), options, {"queue": args.queue}, args.threads)
    phases: dict[str, Phase] = {}
    try:
        rate = asyncio.run(capacity(served.url, args.queue // 2, max(4.0, seconds / 8), args.seed))
        print(f"capacity: {rate:.1f} requests/s; arrivals at {2 * rate:.1f}/s, {100 * args.high:.0f} % with priority")
        for name, share in (("unloaded", 3 / 8), ("loaded", 1.0)):
            phase = phases[name] = Phase(served, share * seconds)
            coming = orders(2 * rate, share * seconds, args.high, args.seed + 1)
            asyncio.run(phase.run(coming if name == "loaded" else (o for o in coming if o.group == "high")))
        left = under_way(served.url)
    finally:
        status = served.close()
    return 0 if report(args, rate, phases, left, status) else 1


def report(args: argparse.Namespace, rate: float, phases: dict[str, Phase], left: int, status: int) -> bool:
    """Prints what came out and appends it to the results; whether all goals are met."""
    unloaded, loaded = phases["unloaded"], phases["loaded"]
    alone, high, low = (t.as_dict() for t in (unloaded.of["high"], loaded.of["high"], loaded.of["low"]))
    growth = 60.0 * slope(loaded.memory) / 2**20
    ratios = {name: round(high[name]["p99"] / alone[name]["p99"], 3) for name in ("ttft", "whole")}
    unclear = [u for phase in phases.values() for tally in phase.of.values() for u in tally.unclear]
    goals = {
        "high_p99": max(ratios.values()) <= 2.0,
        "none_refused": set(high["statuses"]) == {"200"},
        "refusals_clear": low["statuses"].get("429", 0) > 0 and not unclear,
        "low_moves": min(low["answered_per_tenth"]) > 0,
        "memory_flat": growth < 1.0,
        "nothing_left": left == 0 and status == 0,
    }
    for name, found in (("high, unloaded", alone), ("high, loaded", high), ("low, loaded", low)):
        print(f"{name:>15}: " + ", ".join(f"{n:,} x {s}" for s, n in sorted(found["statuses"].items())))
        for what in ("ttft", "whole"):
            print(f"{'':>15}  {what:>5} " + ", ".join(f"{q} {1000 * s:,.1f} ms" for q, s in found[what].items()))
    print(f"low answered in each tenth of the time: {low['answered_per_tenth']}; answers that are not clear: {unclear}")
    first, last = loaded.memory[0][1] / 2**20, loaded.memory[-1][1] / 2**20
    print(f"the server's memory: {first:.1f} MB at first, {last:.1f} MB at last, {growth:+.2f} MB a minute")
    print(
        f"p99 of high priority, loaded over unloaded: to the first text {ratios['ttft']}, to the end {ratios['whole']}"
    )
    print(f"left under way: {left}; exit status {status}; sent at most {1000 * loaded.late:.0f} ms late")
    print("goals: " + ", ".join(f"{name} {'met' if met else 'MISSED'}" for name, met in goals.items()))
    append(
        "soak_serve",
        {
            **{k: v for k, v in vars(args).items() if k != "high"},
            "high_share": args.high,
            "capacity_per_s": round(rate, 2),
            "unloaded": {"high": alone},
            "loaded": {"high": high, "low": low},
            "high_p99_ratio": ratios,
            "memory_mb": {"first": round(first, 1), "last": round(last, 1), "per_minute": round(growth, 3)},
            "goals": goals,
            "machine": machine("torch", "lampc"),
        },
    )
    return all(goals.values())


if __name__ == "__main__":
    sys.exit(main())
