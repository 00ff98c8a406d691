"""Paged attention in torch, with results that depend on a query and its own context alone.

Queries of a step are cut into tiles of one request each; tiles with contexts of about equal length are
computed together. The heads that share K/V are folded into the query rows. Keys are taken in chunks of
`CHUNK` positions counted from position 0; every product has the same shape whatever surrounds it, softmax
uses the maximum over the whole context (which no order of evaluation changes), and chunks are added up from
the first to the last. Keys past a query's position add exact zeros.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from lampc.backend.kv_cache import KVCache

CHUNK = 64
"""Keys per product."""
_LEAST_ROWS = 8  # fewer query rows take other kernels in common GEMM libraries
_TILE_ROWS = 64  # query rows (tokens times heads per K/V head) of a prefill tile, about
_GROUP_VALUES = 1 << 20  # K elements gathered at once


@dataclass(frozen=True, slots=True)
class Span:
    """Rows first .. first + count - 1 of the step hold positions start .. of one request with these slots."""

    first: int
    start: int
    count: int
    slots: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Group:
    """Tiles computed together: T tiles of Q query tokens, M >= Q * fold query rows, N chunks of keys."""

    tiles: int
    tokens: int
    padded: int  # M
    chunks: int
    rows: torch.Tensor  # [T * Q] row of each query token, 0 for padding
    keys: torch.Tensor  # [T * kv_heads * N * CHUNK] rows of the cache
    mask: torch.Tensor  # [T, 1, N, Q * fold, CHUNK] True where a key must not be seen
    take: torch.Tensor  # [n] which of the T * Q results count
    put: torch.Tensor  # [n] and the rows they belong to


def padded_rows(tokens: int, fold: int) -> int:
    """Query rows that a tile of `tokens` tokens is computed with."""
    return max(_LEAST_ROWS, tokens * fold)


class Attention:
    """Plans and computes attention for one model shape. `fold` is heads per K/V head."""

    def __init__(self, heads: int, kv_heads: int, head_dim: int, device: torch.device, exact: bool) -> None:
        self.kv_heads = kv_heads
        self.fold = heads // kv_heads
        self.head_dim = head_dim
        self.device = device
        self.tile_tokens = max(1, _TILE_ROWS // self.fold)
        if exact and not self._tiles_agree():
            self.tile_tokens = 1

    def _tiles_agree(self) -> bool:
        """Whether prefill tiles give the bits of decode tiles on this machine; batch sizes included."""
        noise = torch.Generator().manual_seed(0)
        small, large = padded_rows(1, self.fold), padded_rows(self.tile_tokens, self.fold)
        for inner, outer in ((self.head_dim, CHUNK), (CHUNK, self.head_dim)):
            a = torch.randn(7, large, inner, generator=noise).to(self.device)
            b = torch.randn(7, outer, inner, generator=noise).to(self.device).transpose(1, 2)
            b = b if inner == self.head_dim else b.contiguous()
            whole = torch.bmm(a, b)
            for i in range(7):
                if not torch.equal(torch.bmm(a[i : i + 1], b[i : i + 1])[0], whole[i]):
                    return False
            for start in range(0, large - small + 1):
                if not torch.equal(
                    torch.bmm(a[:, start : start + small].contiguous(), b), whole[:, start : start + small]
                ):
                    return False
        return True

    def plan(self, spans: Iterable[Span], pad_slot: int) -> list[Group]:
        """Groups for the spans of a step; used by all layers."""
        buckets: dict[tuple[int, int], list[tuple[Span, int, int]]] = {}
        for span in spans:
            size = 1 if span.count <= 2 else self.tile_tokens
            for at in range(0, span.count, size):
                count = min(size, span.count - at)
                chunks = -(-(span.start + at + count) // CHUNK)
                buckets.setdefault((size, _round_up(chunks)), []).append((span, at, count))
        groups = []
        for (size, chunks), tiles in sorted(buckets.items(), key=lambda item: item[0]):
            most = max(1, _GROUP_VALUES // (chunks * CHUNK * self.kv_heads * self.head_dim))
            groups += [self._group(tiles[at : at + most], size, chunks, pad_slot) for at in range(0, len(tiles), most)]
        return groups

    def _group(self, tiles: list[tuple[Span, int, int]], size: int, chunks: int, pad_slot: int) -> Group:
        count = len(tiles)
        length = chunks * CHUNK
        padded = padded_rows(size, self.fold)
        rows = np.zeros((count, size), np.int64)
        valid = np.zeros((count, size), bool)
        positions = np.zeros((count, size * self.fold), np.int64)
        slots = np.full((count, length), pad_slot, np.int64)
        for i, (span, at, tokens) in enumerate(tiles):
            rows[i, :tokens] = np.arange(span.first + at, span.first + at + tokens)
            valid[i, :tokens] = True
            start = span.start + at
            positions[i, : tokens * self.fold] = np.repeat(np.arange(start, start + tokens), self.fold)
            slots[i, : start + tokens] = span.slots[: start + tokens]
        keys = slots[:, None, :] * self.kv_heads + np.arange(self.kv_heads)[None, :, None]
        hidden = np.arange(length).reshape(1, chunks, 1, CHUNK) > positions[:, None, :, None]
        flat = valid.ravel()
        return Group(
            tiles=count,
            tokens=size,
            padded=padded,
            chunks=chunks,
            rows=self._tensor(rows.ravel()),
            keys=self._tensor(keys.ravel()),
            mask=self._tensor(hidden[:, None]),
            take=self._tensor(np.flatnonzero(flat)),
            put=self._tensor(rows.ravel()[flat]),
        )

    def _tensor(self, array: NDArray[np.int64] | NDArray[np.bool_] | NDArray[np.intp]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def run(self, q: torch.Tensor, cache: KVCache, layer: int, groups: list[Group]) -> torch.Tensor:
        """q [M, heads, D] against the cache; returns [M, heads, D], zeros in rows that are in no group."""
        out = torch.zeros_like(q)
        for group in groups:
            k, v = cache.read(layer, group.keys)
            out.index_copy_(0, group.put, self._attend(q, k, v, group).index_select(0, group.take))
        return out

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, group: Group) -> torch.Tensor:
        """Results [T * Q, heads, D] of one group."""
        t, n, m, d = group.tiles, group.chunks, group.padded, self.head_dim
        heads, fold, size = self.kv_heads, self.fold, group.tokens
        real = size * fold
        # float32 throughout: low-precision models round q, k, v and the result only.
        folded = q.index_select(0, group.rows).float().view(t, size, heads, fold, d)
        folded = folded.permute(0, 2, 1, 3, 4).reshape(t, heads, 1, real, d)
        if real < m:
            folded = pad(folded, (0, 0, 0, m - real))
        queries = folded.expand(t, heads, n, m, d).reshape(-1, m, d)
        scores = torch.bmm(queries, k.float().view(-1, CHUNK, d).transpose(1, 2))
        scores = scores[:, :real].contiguous().mul_(d**-0.5).view(t, heads, n, real, CHUNK)
        scores.masked_fill_(group.mask, float("-inf"))
        weights = scores.sub_(scores.amax((2, 4), keepdim=True)).exp_()
        sums = weights.sum(-1, keepdim=True)
        weights = weights.view(-1, real, CHUNK)
        if real < m:
            weights = pad(weights, (0, 0, 0, m - real))
        mixed = torch.bmm(weights, v.float().view(-1, CHUNK, d))[:, :real].reshape(t, heads, n, real, d)
        total, mass = mixed[:, :, 0], sums[:, :, 0]
        for i in range(1, n):
            total, mass = total + mixed[:, :, i], mass + sums[:, :, i]
        result = (total / mass).view(t, heads, size, fold, d)
        return result.permute(0, 2, 1, 3, 4).reshape(t * size, heads * fold, d).to(q.dtype)


def _round_up(chunks: int) -> int:
    """1, 2, 3, 4, 6, 8, 12, 16, ...: few sizes, little padding."""
    size = 1
    while size < chunks:
        size *= 2
    return size * 3 // 4 if size >= 4 and chunks <= size * 3 // 4 else size
