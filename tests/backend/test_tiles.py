"""Every query meets every chunk of its context once, from the first to the last, however chunks are shared."""

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lampc.backend.attention import TorchAttention
from lampc.backend.block_pool import BlockPool
from lampc.backend.kv_cache import KVCache
from lampc.backend.naive import dense_attention
from lampc.backend.radix import RadixTree
from lampc.backend.spans import Span
from lampc.backend.tiles import CHUNK, Tiler

CPU = torch.device("cpu")


@st.composite
def contexts(draw: st.DrawFn) -> list[tuple[list[int], int]]:
    """Token ids over long shared stems, and how many of the last ones are queries."""
    found: list[list[int]] = []
    queries = []
    for i in range(draw(st.integers(1, 12))):
        base = found[draw(st.integers(0, len(found) - 1))] if found and draw(st.booleans()) else []
        ids = base[: draw(st.integers(0, len(base)))] + [i] * draw(st.integers(1, 3 * CHUNK))
        found.append(ids)
        queries.append(draw(st.sampled_from([1, 1, 1, 2, 5, 40])))
    return [(ids, min(count, len(ids))) for ids, count in zip(found, queries)]


def spans_of(found: list[tuple[list[int], int]]) -> tuple[list[Span], int]:
    tree = RadixTree(BlockPool(400, 16))
    spans, row = [], 0
    for ids, count in found:
        slots = np.array(tree.slots(tree.insert(ids)), np.int64)
        spans.append(Span(row, len(ids) - count, count, slots))
        row += count
    return spans, row


windows = st.sampled_from([None, None, 1, 5, CHUNK, CHUNK + 1, 100, 1000])


siblings = [([0] * (3 * CHUNK) + [i] * i, 1) for i in range(1, 9)]
"""Decoding over one stem: the windows of all begin in chunks that are read once for all."""


@given(found=contexts(), tokens=st.sampled_from([1, 4, 32]), window=windows)
@example(found=siblings, tokens=32, window=100)
def test_each_chunk_once_and_in_order(found: list[tuple[list[int], int]], tokens: int, window: int | None) -> None:
    spans, rows = spans_of(found)
    groups = Tiler([0], 2, 8, tokens, CPU).plan(spans, 6400, window)
    seen: dict[int, list[int]] = {row: [] for row in range(rows)}
    for group in groups:
        keys = group.keys.view(1 if group.shared else group.tiles, group.chunks * CHUNK)
        for take, put in zip(group.take.tolist(), group.put.tolist()):
            tile, token = divmod(take, group.tokens)
            assert group.rows[take] == put
            mine = keys[0 if group.shared else tile].tolist()
            if group.mask is not None:
                hidden = group.mask[tile, 0, :, token * 2].reshape(-1)
                mine = [slot for slot, gone in zip(mine, hidden.tolist()) if not gone]
            seen[put] += mine
    for span in spans:
        for i in range(span.count):
            end = span.start + i + 1
            assert seen[span.first + i] == span.slots[max(0, end - (window or end)) : end].tolist()


def test_chunks_before_the_window_are_not_read() -> None:
    slots = np.arange(40 * CHUNK)
    spans = [Span(i, len(slots) - 1, 1, slots) for i in range(8)]  # decoding, shared and private chunks
    spans.append(Span(8, len(slots) - 32, 32, slots))  # a large tile
    groups = Tiler([0], 2, 8, 32, CPU).plan(spans, 40 * CHUNK, 3 * CHUNK)
    assert {group.shared for group in groups} == {True, False}
    read = {int(slot) for group in groups for slot in group.keys} - {40 * CHUNK}
    assert min(read) == 36 * CHUNK
    assert sum(len(group.keys) for group in groups) <= (8 + 4 + 8 + 4) * CHUNK


@settings(max_examples=20)
@given(found=contexts(), window=windows)
@example(found=siblings, window=100)
def test_attention_equals_the_dense_twin_bit_by_bit(found: list[tuple[list[int], int]], window: int | None) -> None:
    heads, kv_heads, dim = 4, 2, 8
    spans, rows = spans_of(found)
    noise = torch.Generator().manual_seed(len(found))
    cache = KVCache(6400, 1, kv_heads, dim, CPU, torch.float32)
    q = torch.randn(rows, heads, dim, generator=noise)
    kept = torch.randn(2, 6402, kv_heads, dim, generator=noise)
    cache.write(0, torch.arange(6402), *kept)
    to = np.concatenate([span.slots[span.start : span.start + span.count] for span in spans])
    attend = TorchAttention(cache, heads, [window], exact=True).step(spans, to)
    out = attend(0, q, *kept[:, torch.from_numpy(to)])
    for span in spans:
        k, v = kept[:, torch.from_numpy(span.slots)]
        queries = torch.zeros(len(span.slots), heads, dim)
        queries[span.start :] = q[span.first : span.first + span.count]
        expected = dense_attention(queries, k, v, window)[span.start :]
        assert torch.equal(out[span.first : span.first + span.count], expected)
