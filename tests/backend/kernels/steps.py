"""Steps to attend in: contexts over shared stems, and what one step of them needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.attention import TorchAttention
from lampc.backend.block_pool import BlockPool
from lampc.backend.kernels.paged import TritonAttention
from lampc.backend.kernels.shape import Tile, Tiling
from lampc.backend.kv_cache import KVCache
from lampc.backend.radix import RadixTree
from lampc.backend.scores import Scores
from lampc.backend.spans import Span

SLOTS = 4096
# Small, so that short contexts have several chunks and pieces; an interpreter's time goes by tiles.
EXACT = Tiling((Tile(32, 32, 4, 2),), 64)
FAST = Tiling((Tile(16, 32, 4, 2), Tile(32, 32, 4, 2)), 0)

Contexts = Sequence[tuple[list[int], int]]
"""Token ids, and how many of the last are queries."""


def spans_of(found: Contexts, block: int = 16) -> list[Span]:
    """Spans over slots that a prefix tree gave, in blocks of so many."""
    tree = RadixTree(BlockPool(SLOTS // block, block))
    spans, row = [], 0
    for ids, count in found:
        slots = np.array(tree.slots(tree.insert(ids)), np.int64)
        spans.append(Span(row, len(ids) - count, count, slots))
        row += count
    return spans


@dataclass
class Step:
    """Rows with random q, k, v that depend on their slot alone, over a cache that holds all other slots."""

    spans: Sequence[Span]
    device: torch.device
    fold: int = 4
    kv_heads: int = 1
    dim: int = 64
    dtype: torch.dtype = torch.float32
    int8: bool = False
    window: int | None = None
    scores: Scores | None = None
    by_slot: list[torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        heads = self.fold * self.kv_heads
        noise = torch.Generator().manual_seed(self.dim)
        drawn = torch.randn(SLOTS, heads + 2 * self.kv_heads, self.dim, generator=noise).to(self.dtype)
        self.by_slot = [drawn[:, :heads], *drawn[:, heads:].chunk(2, dim=1)]

    @property
    def to(self) -> NDArray[np.int64]:
        return np.concatenate([s.slots[s.start : s.start + s.count] for s in self.spans])

    @property
    def rows(self) -> int:
        return sum(span.count for span in self.spans)

    def cache(self) -> KVCache:
        cache = KVCache(SLOTS, 1, self.kv_heads, self.dim, self.device, self.dtype, self.int8)
        cache.write(0, torch.arange(SLOTS, device=self.device), *(x.to(self.device) for x in self.by_slot[1:]))
        return cache

    def inputs(self) -> list[torch.Tensor]:
        return [x[self.to].to(self.device) for x in self.by_slot]

    def attention(self, exact: bool, tiles: Tiling | None = None, share: bool = True) -> TritonAttention:
        heads = self.fold * self.kv_heads
        tiles = tiles or (EXACT if exact else FAST)
        return TritonAttention(self.cache(), heads, [self.window], exact, tiles, share, self.scores)

    def run(self, exact: bool, tiles: Tiling | None = None, share: bool = True) -> torch.Tensor:
        return self.attention(exact, tiles, share).step(self.spans, self.to)(0, *self.inputs()).cpu()

    def run_torch(self) -> torch.Tensor:
        attention = TorchAttention(self.cache(), self.fold * self.kv_heads, [self.window], False, self.scores)
        return attention.step(self.spans, self.to)(0, *self.inputs()).cpu()

    def check(self, found: torch.Tensor, right: torch.Tensor) -> None:
        """Raises AssertionError unless results lie as close as two that are rounded in other places."""
        bounds = {torch.float32: 4e-6, torch.float16: 2**-9, torch.bfloat16: 2**-6}[self.dtype]
        torch.testing.assert_close(found, right, rtol=bounds, atol=bounds)
