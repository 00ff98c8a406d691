"""The other end of `engine_bench.process`: loads an engine once, takes orders line by line, answers in JSON.

A runner is started as `python runner.py SPEC`, where SPEC is JSON: `folder` (of the checkpoint), `dtype`, `threads`,
`requests` (most at once), `longest` (tokens of the longest request), `options`. It imports nothing of the project's
benchmark, as it runs in another environment. Whatever a library prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol


@dataclass(frozen=True)
class Item:
    """One request: ids in, exactly `out` ids out. `arrival` in seconds; larger `priority` is more urgent."""

    prompt: list[int]
    out: int
    arrival: float
    priority: int


@dataclass(frozen=True)
class Spec:
    """What to load, and for what."""

    folder: str
    dtype: str
    threads: int
    requests: int
    longest: int
    options: dict[str, Any]


class Peer(Protocol):
    """An engine under test."""

    def generate(self, items: list[Item]) -> list[list[int]]:
        """All items at once, from an empty cache; greedy, no stop."""
        ...


class StreamingPeer(Peer, Protocol):
    """One that takes requests while others run."""

    def submit(self, number: int, item: Item) -> None:
        """Queues a request."""
        ...

    def step(self) -> Iterable[tuple[int, int, bool]]:
        """Goes on with whatever runs: for each request that moved its number, new ids, and whether it is over."""
        ...


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of packages, and Python's."""
    found = {"python": sys.version.split()[0]}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def offline(peer: Peer, items: list[Item]) -> dict[str, Any]:
    """All requests are there from the start."""
    reset(peer)
    prepare: Callable[[list[Item]], None] | None = getattr(peer, "prepare", None)
    if prepare is not None:
        prepare(items)
    begun = time.perf_counter()
    ids = peer.generate(items)
    return {"seconds": time.perf_counter() - begun, "ids": ids}


def open_loop(peer: StreamingPeer, items: list[Item], batch: int = 0) -> dict[str, Any]:
    """Requests are submitted when they arrive, whatever has been answered. Waits count from the arrival planned.

    With a `batch`, batching is static instead: of what has arrived at most so many are taken, and nothing else
    starts before all of them are done.
    """
    reset(peer)
    first: list[float | None] = [None] * len(items)
    end: list[float | None] = [None] * len(items)
    made = [0] * len(items)
    following = live = 0
    begun = time.perf_counter()
    while following < len(items) or live:
        now = time.perf_counter() - begun
        room = batch if batch and not live else 0 if batch else len(items)
        while room and following < len(items) and items[following].arrival <= now:
            peer.submit(following, items[following])
            following, live, room = following + 1, live + 1, room - 1
        if not live:
            time.sleep(max(0.0, items[following].arrival - now))
            continue
        for number, fresh, over in peer.step():
            at = time.perf_counter() - begun
            made[number] += fresh
            if fresh and first[number] is None:
                first[number] = at
            if over:
                end[number] = at
                live -= 1
    short = [n for n, item in enumerate(items) if made[n] != item.out]
    if short:
        raise RuntimeError(f"request {short[0]} made {made[short[0]]} ids of {items[short[0]].out}")
    times = [[(first[n] or 0.0) - i.arrival, (end[n] or 0.0) - i.arrival, i.priority] for n, i in enumerate(items)]
    return {"seconds": max(e or 0.0 for e in end), "times": times}


def reset(peer: Peer) -> None:
    """Empties the peer's cache of prefixes, where it has one."""
    forget: Callable[[], None] | None = getattr(peer, "reset", None)
    if forget is not None:
        forget()


def serve(load: Callable[[Spec], Any], *packages: str) -> None:
    """Loads, warms up, says so, and carries out orders until stdin ends.

    An order names a method: "offline" and "stream" are understood for all, others are the peer's own.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        peer = load(Spec(**json.loads(sys.argv[1])))
        answer({"ready": True, "versions": versions(*packages), "about": getattr(peer, "about", {})})
        for line in sys.stdin:
            order = json.loads(line)
            do, items = order.pop("do"), [Item(**i) for i in order.pop("items", [])]
            try:
                if do == "offline":
                    answer(offline(peer, items))
                elif do == "stream":
                    answer(open_loop(peer, items, **order))
                else:
                    answer(getattr(peer, do)(items, **order))
            except Exception as error:  # told to whoever measures, who goes on with the next
                traceback.print_exc()
                answer({"failed": f"{type(error).__name__}: {error}"})
    except BaseException as error:
        traceback.print_exc()
        answer({"failed": f"{type(error).__name__}: {error}"})
    finally:
        close = getattr(locals().get("peer"), "close", None)
        if close is not None:
            close()


def warm_up(peer: Peer, vocab: int) -> None:
    """A few short requests, so that what is compiled or packed on first use is not part of any time."""
    peer.generate([Item([300 % vocab + n] * 40, 4, 0.0, 0) for n in range(3)])
