"""Attention by work table: decode, shared prefixes and prefill, each beside the floor of its bytes and FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gpu_bench.timing import seconds
from lampc.backend.kernels.accounting import account, merge_bytes
from lampc.backend.kernels.paged import Attending, TritonAttention
from lampc.backend.kv_cache import KVCache
from lampc.backend.spans import Span


@dataclass(frozen=True, slots=True)
class Heads:
    """Of a layer; by default those of an 8 B Llama."""

    heads: int = 32
    kv_heads: int = 8
    dim: int = 128


def spans_of(shared: int, own: int, requests: int, queries: int = 1) -> list[Span]:
    """Requests with `shared` tokens in common and `own` of their own, the last `queries` of which ask; slots run in a
    line."""
    stem = np.arange(shared)
    found = []
    for i in range(requests):
        slots = np.concatenate([stem, shared + i * own + np.arange(own)]).astype(np.int64)
        found.append(Span(i * queries, shared + own - queries, queries, slots))
    return found


class Bench:
    """Times attention over one cache of random K/V."""

    def __init__(self, device: torch.device, dtype: torch.dtype, heads: Heads, slots: int, rates: tuple[float, float]):
        self.device, self.dtype, self.of = device, dtype, heads
        self.copy, self.product = rates
        self.cache = KVCache(slots, 1, heads.kv_heads, heads.dim, device, dtype)
        self.cache.data.normal_()

    def time(self, spans: Sequence[Span], exact: bool, share: bool = True) -> dict[str, Any]:
        """Seconds of a launch, and the share of the floor that it comes to: the larger of bytes at the rate of a copy
        and FLOPs at that of a product."""
        h = self.of
        attention = TritonAttention(self.cache, h.heads, [None], exact, share=share)
        rows = sum(span.count for span in spans)
        to = np.full(rows, -1, np.int64)  # K/V are there
        step: Attending = attention.step(spans, to)
        table = attention.plan(spans, rows)
        q = torch.randn(rows, h.heads, h.dim, device=self.device).to(self.dtype)
        took = seconds(lambda: attention.run(0, q, step.tables[0]), self.device)
        traffic = account(table, attention.shape)
        size = sum(t.kv_distinct + t.queries + t.results for t in traffic) + merge_bytes(table, attention.shape)
        flops = sum(t.flops for t in traffic)
        floor = max(size / self.copy, flops / self.product)
        return {
            "seconds": took,
            "bytes": size,
            "flops": flops,
            "share_of_floor": floor / took,
            "bound": "bytes" if size / self.copy >= flops / self.product else "flops",
            "work_rows": sum(t.rows for t in traffic),
        }


def decode(bench: Bench, batches: Sequence[int], contexts: Sequence[int]) -> dict[str, Any]:
    """Every request reads a context of its own."""
    found = {}
    for batch in batches:
        for context in contexts:
            if batch * context <= bench.cache.trash:
                spans = spans_of(0, context, batch)
                for mode, exact in (("exact", True), ("fast", False)):
                    found[f"{batch} x {context}, {mode}"] = bench.time(spans, exact)
    return found


def shared(bench: Bench, requests: int, prefix: int, own: int) -> dict[str, Any]:
    """One prefix under all requests, read once and read by each."""
    spans = spans_of(prefix, own, requests)
    together, apart = bench.time(spans, True), bench.time(spans, True, share=False)
    return {"together": together, "apart": apart, "speedup": apart["seconds"] / together["seconds"]}


def prefill(bench: Bench, tokens: int) -> dict[str, Any]:
    """A whole prompt; FLOPs counted are those below the diagonal."""
    found = {}
    for mode, exact in (("exact", True), ("fast", False)):
        one = bench.time(spans_of(0, tokens, 1, tokens), exact)
        flops = 2 * bench.of.heads * bench.of.dim * tokens * (tokens + 1)
        found[mode] = {**one, "share_of_product_rate": flops / bench.product / one["seconds"]}
    return found
