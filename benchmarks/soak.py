"""Ten minutes at twice the capacity: does memory stay flat, do important requests stay fast, do the others move?

    python benchmarks/soak.py [--minutes 10] [--high 0.2] [--seed 0]

One process, no sockets: this thread steps the engine of the bundled model and submits requests at the moments of a
seeded Poisson process (an open loop: nobody waits for an answer before the next arrives). Every latency is measured
from the moment of arrival, however late the request got in. Three phases:

1. capacity: there is always one more; finished requests per second, once the batch is full.
2. unloaded: only the high-priority requests of phase 3, at the same moments: without the low ones the engine is not
   idle, it runs at `--high` times twice its capacity. What is compared is what the low ones cost the others.
3. loaded: requests arrive at twice the capacity, a share `--high` of them with priority 1, the others with 0. The
   queue holds `--queue` requests. When it is full an arrival is refused; one with priority takes the place of the low
   one that came last instead. Some low ones have a deadline, and some are aborted at a random moment.

Goals: p99 of high priority within twice that of phase 2 (time to the first token, and to the last), low priority still
moves in every tenth of the time, no high one is refused, resident memory grows by less than 1 MB a minute, and no KV
block is left at the end. The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np
from _common import ROOT, append, machine
from _soak import soak_options

sys.path.insert(0, str(ROOT / "src"))

from lampc.backend import Handle, QueueFull, Request, Sampling, State, TokenEngine, load_engine
from lampc.runtime.pool import firefly_folder

HIGH, LOW = 1, 0
TIMES = 10  # parts of the loaded phase in each of which low priority must move


@dataclass(slots=True)
class Arrival:
    """A request that arrives `at` seconds after the beginning of its phase."""

    at: float
    request: Request
    timeout: float | None = None
    abort_after: float | None = None


def arrivals(rate: float, seconds: float, high: float, seed: int, vocab: int) -> Iterator[Arrival]:
    """A seeded Poisson process of mixed requests: one of eight shared beginnings, own ids, 4 to 32 tokens out."""
    rng = random.Random(seed)
    heads = [tuple(rng.randrange(8, vocab) for _ in range(64)) for _ in range(8)]
    at, number = 0.0, 0
    while True:
        at += rng.expovariate(rate)
        if at >= seconds:
            return
        number += 1
        own = tuple(rng.randrange(8, vocab) for _ in range(rng.randint(4, 48)))
        sampling = Sampling(temperature=0.8, max_tokens=rng.randint(4, 32), ignore_eos=True)
        priority = HIGH if rng.random() < high else LOW
        request = Request(rng.choice(heads) + own, sampling, key=number, priority=priority)
        impatient = priority == LOW and rng.random() < 0.1
        leaves = priority == LOW and rng.random() < 0.02
        yield Arrival(at, request, 5.0 if impatient else None, rng.random() * 3.0 if leaves else None)


@dataclass
class Tally:
    """What became of the requests of one priority; times in seconds from arrival."""

    arrived: int = 0
    refused: int = 0
    displaced: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    first: array[float] = field(default_factory=lambda: array("d"))
    whole: array[float] = field(default_factory=lambda: array("d"))
    done_at: array[float] = field(default_factory=lambda: array("d"))

    def as_dict(self, seconds: float) -> dict[str, Any]:
        parts, _ = np.histogram(self.done_at, bins=TIMES, range=(0.0, seconds))
        return {
            "arrived": self.arrived,
            "refused": self.refused,
            "displaced": self.displaced,
            **self.ends,
            "ttft": quantiles(self.first),
            "whole": quantiles(self.whole),
            "finished_per_tenth": parts.tolist(),
        }


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """p50, p90, p99 and the largest, in seconds."""
    found = np.array(list(values) or [float("nan")])
    return {f"p{q}": round(float(np.percentile(found, q)), 5) for q in (50, 90, 99)} | {
        "max": round(float(found.max()), 5)
    }


class Phase:
    """Runs arrivals against an engine for some seconds; nothing but this loop drives it."""

    def __init__(self, engine: TokenEngine, seconds: float) -> None:
        self.engine, self.seconds = engine, seconds
        self.of = {HIGH: Tally(), LOW: Tally()}
        self.memory: list[tuple[float, float]] = []  # (seconds, bytes)
        self.depth = self.steps = 0
        self._begun = 0.0
        self._live: dict[int, tuple[Handle, float]] = {}  # by number, with the moment of arrival
        self._queued: deque[Handle] = deque()  # low priority, in order of arrival
        self._leaving: list[tuple[float, int, Handle]] = []

    def run(self, coming: Iterator[Arrival]) -> None:
        """The whole phase; what is left at its end is aborted."""
        self._begun = time.monotonic()
        following = next(coming, None)
        sampled = -1.0
        while (now := time.monotonic() - self._begun) < self.seconds:
            while following is not None and following.at <= now:
                self._submit(following)
                following = next(coming, None)
            while self._leaving and self._leaving[0][0] <= now:
                self.engine.abort(heappop(self._leaving)[2])
            if self.engine.idle:
                until = self.seconds if following is None else following.at
                time.sleep(max(0.0, min(until - now, 0.05)))
                continue
            self._take(self.engine.step())
            self.steps += 1
            if now - sampled >= 0.5:
                sampled = now
                self.memory.append((now, resident()))
                self.depth = max(self.depth, self.engine.metrics().waiting)
        for handle, _ in self._live.values():
            self.engine.abort(handle)
        if not self.engine.idle:
            self.engine.step()

    def _submit(self, arrival: Arrival) -> None:
        request = arrival.request
        tally = self.of[request.priority]
        tally.arrived += 1
        if arrival.timeout is not None:
            request = replace(request, deadline=self._begun + arrival.at + arrival.timeout)
        try:
            handle = self.engine.submit(request)
        except QueueFull:
            if request.priority == LOW or not self._displace():
                tally.refused += 1
                return
            handle = self.engine.submit(request)
        handle.on_token = self._first
        self._live[handle.id] = (handle, arrival.at)
        if request.priority == LOW:
            self._queued.append(handle)
        if arrival.abort_after is not None:
            heappush(self._leaving, (arrival.at + arrival.abort_after, handle.id, handle))

    def _displace(self) -> bool:
        """Ends the low request that came last of those that wait; False if there is none."""
        while self._queued:
            handle = self._queued.pop()
            if handle.state is State.WAITING:
                self.of[LOW].displaced += 1
                self.engine.abort(handle)
                return True
        return False

    def _first(self, handle: Handle, token: int) -> None:
        handle.on_token = None
        now = time.monotonic() - self._begun
        self.of[handle.request.priority].first.append(now - self._live[handle.id][1])

    def _take(self, handles: list[Handle]) -> None:
        now = time.monotonic() - self._begun
        for handle in handles:
            completion, tally = handle.completion, self.of[handle.request.priority]
            if completion is None or completion.finish == "error":
                raise RuntimeError(f"a request failed: {completion}")
            _, at = self._live.pop(handle.id)
            tally.ends[completion.finish] = tally.ends.get(completion.finish, 0) + 1
            if completion.finish == "length":
                tally.whole.append(now - at)
                tally.done_at.append(now)
        while self._queued and self._queued[0].state is not State.WAITING:
            self._queued.popleft()


def resident() -> float:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def slope(memory: list[tuple[float, float]]) -> float:
    """Growth in bytes per second, by least squares over the last four fifths."""
    late = np.array(memory[len(memory) // 5 :])
    return float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) if len(late) > 2 else 0.0


def capacity(engine: TokenEngine, seconds: float, seed: int) -> float:
    """Requests per second that are finished while there is always one more."""
    endless = arrivals(1e9, 1e9, 0.2, seed, engine.info.vocab_size)
    begun = time.monotonic()
    finished, counted_from, live = 0, begun, 0
    while (now := time.monotonic()) < begun + seconds:
        while live < 256:
            engine.submit(next(endless).request)
            live += 1
        done = len(engine.step())
        live -= done
        if now < begun + seconds / 4:
            counted_from = now  # until the batch is full and the cache warm
        else:
            finished += done
    rate = finished / (time.monotonic() - counted_from)
    engine.close()
    return rate


def main() -> int:
    parser = soak_options(__doc__, 256, "requests that may wait")
    parser.add_argument("--patience", type=int, default=1024, help="later ones that may pass one that waits")
    args = parser.parse_args()
    seconds = 60.0 * args.minutes

    def engine(queue: int) -> TokenEngine:
        return load_engine(
            firefly_folder(), kv_tokens=16384, max_waiting=queue, max_running=args.running,
            max_batch_tokens=args.batch_tokens, policy="priority", patience=args.patience,
        )  # fmt: skip

    rate = capacity(engine(1024), max(10.0, seconds / 8), args.seed)
    print(
        f"capacity: {rate:.1f} requests/s; arrivals at {2 * rate:.1f}/s, {100 * args.high:.0f} % of them with priority"
    )
    phases: dict[str, Phase] = {}
    for name, share in (("unloaded", 3 / 8), ("loaded", 1.0)):
        made = engine(args.queue)
        phase = phases[name] = Phase(made, share * seconds)
        coming = arrivals(2 * rate, share * seconds, args.high, args.seed + 1, made.info.vocab_size)
        phase.run(coming if name == "loaded" else (a for a in coming if a.request.priority == HIGH))
        made.check()
        made.reset_cache()
        left = made.stats().used_blocks
        if left:
            raise RuntimeError(f"{left} KV blocks were left after the {name} phase")
        made.close()
    return 0 if report(args, rate, phases) else 1


def report(args: argparse.Namespace, rate: float, phases: dict[str, Phase]) -> bool:
    """Prints what came out and appends it to the results; whether all goals are met."""
    unloaded, loaded = phases["unloaded"], phases["loaded"]
    high, low = loaded.of[HIGH].as_dict(loaded.seconds), loaded.of[LOW].as_dict(loaded.seconds)
    alone = unloaded.of[HIGH].as_dict(unloaded.seconds)
    growth = 60.0 * slope(loaded.memory) / 2**20
    ratios = {name: round(high[name]["p99"] / alone[name]["p99"], 3) for name in ("ttft", "whole")}
    goals = {
        "high_p99": max(ratios.values()) <= 2.0,
        "none_refused": high["refused"] == 0,
        "low_moves": min(low["finished_per_tenth"]) > 0,
        "memory_flat": growth < 1.0,
    }
    for name, found in (("high, unloaded", alone), ("high, loaded", high), ("low, loaded", low)):
        ends = ", ".join(f"{found.get(e, 0):,} {e}" for e in ("length", "timeout", "abort"))
        print(
            f"{name:>15}: {found['arrived']:,} arrived, {found['refused']:,} refused, "
            f"{found['displaced']:,} displaced; ended: {ends}"
        )
        for what in ("ttft", "whole"):
            print(f"{'':>15}  {what:>5} " + ", ".join(f"{q} {1000 * s:,.1f} ms" for q, s in found[what].items()))
    print(f"low finished in each tenth of the time: {low['finished_per_tenth']}; deepest queue {loaded.depth}")
    first, last = loaded.memory[0][1] / 2**20, loaded.memory[-1][1] / 2**20
    print(f"memory: {first:.1f} MB at first, {last:.1f} MB at last, {growth:+.2f} MB a minute")
    print(f"p99 of high priority, loaded over unloaded: first token {ratios['ttft']}, whole {ratios['whole']}")
    print("goals: " + ", ".join(f"{name} {'met' if met else 'MISSED'}" for name, met in goals.items()))
    append(
        "soak",
        {
            "minutes": args.minutes,
            "high_share": args.high,
            "queue": args.queue,
            "running": args.running,
            "batch_tokens": args.batch_tokens,
            "patience": args.patience,
            "capacity_per_s": round(rate, 2),
            "unloaded": {"high": alone},
            "loaded": {"high": high, "low": low, "steps": loaded.steps, "deepest_queue": loaded.depth},
            "high_p99_ratio": ratios,
            "memory_mb": {"first": round(first, 1), "last": round(last, 1), "per_minute": round(growth, 3)},
            "goals": goals,
            "machine": machine("torch", "lampc"),
        },
    )
    return all(goals.values())


if __name__ == "__main__":
    sys.exit(main())
