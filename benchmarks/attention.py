"""Decoding's attention on the CPU: how fast K/V are read, against what reading memory alone reaches.

    python benchmarks/attention.py [--threads 2] [--rounds 9] [--against KERNELS.so]

Each request has one new token and a context of its own, in blocks of 16 tokens that lie in a row or scattered over the
cache; twelve layers, and 25 MB at least, so that little of what is read lies in a cache of the processor. `--against`
names a library that another version built (`python -m lampc.backend.native` says where): it is timed in turns with this
one, and must give the same bits.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import append, in_turns, machine
from linear import read_rate
from numpy.typing import NDArray

from lampc.backend.kv_cache import KVCache
from lampc.backend.native import shared_library
from lampc.backend.native.attention import NativeAttention
from lampc.backend.native.linear import Memory
from lampc.backend.spans import Span

SHAPES = {"4 heads of 64, 2 for K/V": (4, 2, 64), "14 heads of 64, 2 for K/V": (14, 2, 64)}
BATCHES = ((1, 4096), (8, 1024), (32, 600), (64, 600))
"""Requests, and tokens of each one's context."""
LAYERS, BLOCK = 12, 16


def spans(requests: int, context: int, scattered: bool) -> list[Span]:
    """A row for each request: its newest token, and where its context lies."""
    blocks = -(-context // BLOCK)
    order = np.arange(requests * blocks)
    if scattered:
        np.random.default_rng(0).shuffle(order)
    slots: NDArray[np.int64] = (order[:, None] * BLOCK + np.arange(BLOCK)).reshape(requests, -1)
    return [Span(i, context - 1, 1, np.ascontiguousarray(slots[i])) for i in range(requests)]


def work(kernels: shared_library.Library, cache: KVCache, heads: int, batch: list[Span]) -> Callable[[], torch.Tensor]:
    """Attention of all layers in one step; gives the last one's result."""
    attention = NativeAttention(kernels, cache, heads, [None] * LAYERS)
    noise = torch.Generator().manual_seed(0)
    q = torch.randn(len(batch), heads, cache.head_dim, generator=noise).to(cache.dtype)
    kv = torch.zeros(len(batch), cache.kv_heads, cache.head_dim, dtype=cache.dtype)
    nowhere = np.full(len(batch), -1, np.int64)

    def run() -> torch.Tensor:
        attend = attention.step(batch, nowhere)
        for layer in range(LAYERS):
            out = attend(layer, q, kv, kv)
        return out

    return run


def timed(run: Callable[[], object]) -> Callable[[], float]:
    def measure() -> float:
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--against", type=Path, help="another version's library of kernels")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    kernels = {"ours": shared_library.load()}
    if args.against:
        kernels["against"] = shared_library.Library(args.against, "against", ctypes.CDLL(str(args.against)))
    about, rate = machine("torch"), read_rate(Memory(kernels["ours"]), args.threads)
    print(f"{about['processor']}, {args.threads} threads; reading memory: {rate / 1e9:.1f} GB/s")
    rows: list[dict[str, Any]] = []
    for name, (heads, kv_heads, dim) in SHAPES.items():
        for dtype in (torch.float32, torch.bfloat16):
            for requests, context in BATCHES:
                cache = KVCache(requests * (context + BLOCK), LAYERS, kv_heads, dim, torch.device("cpu"), dtype)
                cache.data.normal_(generator=torch.Generator().manual_seed(1))
                read = requests * context * cache.key_bytes(LAYERS)
                for scattered in (False, True):
                    batch = spans(requests, context, scattered)
                    runs = {which: work(found, cache, heads, batch) for which, found in kernels.items()}
                    results = [run().clone() for run in runs.values()]
                    assert all(torch.equal(results[0], other) for other in results), "other bits"
                    times = in_turns({which: timed(run) for which, run in runs.items()}, args.rounds)
                    rates = {which: read / statistics.median(found) / 1e9 for which, found in times.items()}
                    kind = str(dtype).removeprefix("torch.")
                    place = "scattered" if scattered else "in a row"
                    told = ", ".join(f"{which} {found:5.1f} GB/s" for which, found in rates.items())
                    print(f"{name}, {kind:<8} {requests:2} x {context:4} {place:<9} {told}", flush=True)
                    row: dict[str, Any] = {
                        "shape": name,
                        "dtype": kind,
                        "requests": requests,
                        "context": context,
                        "place": place,
                    }
                    rows.append(row | {f"{which}_gb_s": round(found, 2) for which, found in rates.items()})
    if args.against:
        gain = statistics.geometric_mean(row["ours_gb_s"] / row["against_gb_s"] for row in rows)
        print(f"{gain:.2f} times as fast as the other version (geometric mean)")
    names = {which: found.path.name for which, found in kernels.items()}
    result = {
        "machine": about,
        "kernels": names,
        "threads": args.threads,
        "read_gb_s": round(rate / 1e9, 2),
        "rows": rows,
    }
    print(f"appended to {append('attention', result | {'rows': rows})}")


if __name__ == "__main__":
    main()
