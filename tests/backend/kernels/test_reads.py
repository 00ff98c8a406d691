"""What Triton attention says that it reads is what its work tables hold."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.backend.kernels.accounting import account
from lampc.backend.kernels.paged import TritonAttention
from lampc.backend.kernels.shape import CHUNK, Tiling, tiling
from lampc.backend.kv_cache import KVCache
from tests.backend.kernels.steps import EXACT, FAST, SLOTS, spans_of
from tests.backend.test_reads import DIM, KV_HEADS, LAYERS, met_once
from tests.backend.test_tiles import contexts, windows


def attention(device: torch.device, window: int | None, tiles: Tiling | None) -> TritonAttention:
    cache = KVCache(SLOTS, LAYERS, KV_HEADS, DIM, device, torch.float32)
    return TritonAttention(cache, 2 * KV_HEADS, [window] * LAYERS, exact=True, tiles=tiles)


@settings(max_examples=40)
@given(found=contexts(), window=windows, tiles=st.sampled_from([EXACT, FAST]))
def test_each_query_meets_its_keys_once(
    device: torch.device, found: list[tuple[list[int], int]], window: int | None, tiles: Tiling
) -> None:
    spans = spans_of(found)
    triton = attention(device, window, tiles)
    reads = triton.reads(spans)
    met_once(reads, spans, window, LAYERS)
    # The same bytes as counted launch by launch, which counts four for each slot as well.
    launches = account(triton.plan(spans, sum(span.count for span in spans), window), triton.shape)
    keys = sum(read.end - read.begin for read in reads)
    assert LAYERS * sum(one.kv_read for one in launches) == sum(read.nbytes for read in reads) + LAYERS * (
        4 * KV_HEADS * keys
    )


def test_a_prefix_is_read_once_for_its_group_and_told_as_one(device: torch.device) -> None:
    spans = spans_of([([0] * (2 * CHUNK) + [i] * 5, 1) for i in range(1, 9)])
    triton = attention(device, None, None)
    assert triton.tiling == tiling(triton.shape, exact=True)
    reads = triton.reads(spans)
    shared = [read for read in reads if len(read.spans) > 1]
    assert [(r.kernel, r.begin, r.end, r.spans) for r in shared] == [
        ("triton work table", 0, 2 * CHUNK, tuple(range(8)))
    ]
    assert sorted(read.spans for read in reads if read not in shared) == [(i,) for i in range(8)]
