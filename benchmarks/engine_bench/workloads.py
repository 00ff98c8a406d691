"""What is asked of every engine: token ids in, a fixed number of ids out, greedy, no stop.

W1: `n` requests that share 1,024 tokens and have 32 of their own, 32 out. W2: `n` x 256 of their own, 32 out.
W3: one stream, 64 in, 128 out. W4: an open-loop trace: Poisson arrivals, mixed lengths, one request in four urgent.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass
from typing import Any

VOCAB_FROM = 300  # past special ids and single bytes


@dataclass(frozen=True)
class Item:
    """One request; `arrival` in seconds from the start, `priority` larger is more urgent."""

    prompt: tuple[int, ...]
    out: int
    arrival: float = 0.0
    priority: int = 0


@dataclass(frozen=True)
class Workload:
    """`shared` is the length of the prefix that all prompts share; it is no secret, but engines find it themselves."""

    name: str
    items: tuple[Item, ...]
    shared: int = 0

    @property
    def tokens_out(self) -> int:
        return sum(item.out for item in self.items)

    @property
    def longest(self) -> int:
        return max(len(item.prompt) + item.out for item in self.items)

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "shared": self.shared, "items": [asdict(item) for item in self.items]}


def _ids(draw: random.Random, count: int, vocab: int) -> tuple[int, ...]:
    return tuple(draw.randrange(VOCAB_FROM, vocab) for _ in range(count))


def w1(n: int, vocab: int, shared: int = 1024, own: int = 32, out: int = 32) -> Workload:
    """Many requests with one long prefix."""
    draw = random.Random(1)
    prefix = _ids(draw, shared, vocab)
    return Workload("W1", tuple(Item(prefix + _ids(draw, own, vocab), out) for _ in range(n)), shared)


def w2(n: int, vocab: int, own: int = 256, out: int = 32) -> Workload:
    """Many requests with nothing in common."""
    draw = random.Random(2)
    return Workload("W2", tuple(Item(_ids(draw, own, vocab), out) for _ in range(n)))


def w3(vocab: int, own: int = 64, out: int = 128) -> Workload:
    """One stream."""
    return Workload("W3", (Item(_ids(random.Random(3), own, vocab), out),))


def w4(n: int, vocab: int, rate: float, longest: int = 512, most_out: int = 64) -> Workload:
    """Open loop: arrivals do not wait for answers. Lengths are log-uniform, from 16 in and 8 out."""
    draw = random.Random(4)
    at, items = 0.0, []
    for _ in range(n):
        at += draw.expovariate(rate)
        length = round(math.exp(draw.uniform(math.log(16), math.log(longest))))
        out = round(math.exp(draw.uniform(math.log(8), math.log(most_out))))
        items.append(Item(_ids(draw, length, vocab), out, at, int(draw.random() < 0.25)))
    return Workload("W4", tuple(items))
