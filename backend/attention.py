"""Paged attention in torch, with results that depend on a query and its own context alone.

Keys are taken in chunks of `CHUNK` positions counted from position 0. Every product has the same shape
whatever surrounds it (the heads that share K/V are folded into the query rows), softmax uses the maximum over
the whole context, which no order of evaluation changes, and chunks are added up from the first to the last.
Keys past a query's position, or before its sliding window, add exact zeros. What is computed together is
therefore free: see `lampc.backend.tiles`, which also lets queries of many requests read the chunks that they
share once.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from lampc.backend.kv_cache import KVCache
from lampc.backend.models.layers import Attend, elementwise
from lampc.backend.native.attention import NativeAttention, supported
from lampc.backend.native.shared_library import Library
from lampc.backend.reads import Read
from lampc.backend.scores import Scores
from lampc.backend.spans import Span
from lampc.backend.tiles import CHUNK, Group, Tiler, padded_rows, reads_of, value_width

_TILE_ROWS = 64  # query rows (tokens times heads per K/V head) of a large tile, about


class Attention(Protocol):
    """Attention over one cache."""

    def step(self, spans: Sequence[Span], slots: NDArray[np.int64]) -> Attend:
        """What the model calls once per layer: row i's K/V go to slots[i], those of slots below 0 nowhere.

        Rows in no span come after all others and give zeros. What is returned holds for this step.
        """
        ...

    def reads(self, spans: Sequence[Span]) -> list[Read]:
        """See `lampc.backend.reads`."""
        ...


def make_attention(
    cache: KVCache,
    heads: int,
    windows: Sequence[int | None],
    exact: bool,
    native: Library | None,
    triton: bool = False,
    scores: Scores | None = None,
) -> Attention:
    """By Triton's kernels if they are asked for, by native ones if they are given and compute with such a cache, else
    by torch. `windows` has an entry per layer; `scores` are by the head size if none are given. Native kernels are
    exact either way. Raises ValueError if Triton's do not compute with such a cache."""
    if triton:
        from lampc.backend.kernels.paged import TritonAttention  # nobody else pays for triton

        return TritonAttention(cache, heads, windows, exact, scores=scores)
    if native is not None and supported(cache):
        return NativeAttention(native, cache, heads, windows, scores=scores)
    return TorchAttention(cache, heads, windows, exact, scores)


class TorchAttention:
    """See `Attention`. float32 throughout: low-precision models round q, k, v and the result only."""

    def __init__(
        self,
        cache: KVCache,
        heads: int,
        windows: Sequence[int | None],
        exact: bool,
        scores: Scores | None = None,
    ) -> None:
        self._cache = cache
        self._score = scores or Scores(cache.head_dim)
        self._windows = windows
        self.kv_heads = cache.kv_heads
        self.fold = heads // cache.kv_heads
        self.head_dim = cache.head_dim
        self.device = cache.device
        tokens = max(1, _TILE_ROWS // self.fold)
        if exact and not self._tiles_agree(tokens):
            tokens = 1
        self._tiler = Tiler(cache.heads, self.fold, cache.head_dim, tokens, cache.device)

    def step(self, spans: Sequence[Span], slots: NDArray[np.int64]) -> Attend:
        """See `Attention.step`."""
        cache = self._cache
        groups = {w: self._tiler.plan(spans, cache.zero, w) for w in dict.fromkeys(self._windows)}
        store = torch.from_numpy(np.where(slots < 0, cache.trash, slots)).to(self.device)

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            # All K/V of the step are stored before any is read: rows may build on rows of the same step.
            cache.write(layer, store, k, v)
            return self._run(q, layer, groups[self._windows[layer]])

        return attend

    def reads(self, spans: Sequence[Span]) -> list[Read]:
        """See `lampc.backend.reads`."""
        spans = list(spans)
        found = []
        for window, layers in Counter(self._windows).items():
            for group in self._tiler.plan(spans, self._cache.zero, window):
                found += reads_of(group, spans, self.kv_heads, self._cache.key_bytes(layers))
        return found

    def _tiles_agree(self, tokens: int) -> bool:
        """Whether large tiles give the bits of small ones on this machine, alone and among others."""
        noise = torch.Generator().manual_seed(0)
        small, large = padded_rows(1, self.fold), padded_rows(tokens, self.fold)
        for inner, outer in ((self.head_dim, CHUNK), (CHUNK, value_width(self.head_dim))):
            a = torch.randn(7, large, inner, generator=noise).to(self.device)
            b = torch.randn(7, outer, inner, generator=noise).to(self.device).transpose(1, 2)
            b = b if inner == self.head_dim else b.contiguous()
            whole = torch.bmm(a, b)
            for i in range(7):
                if not torch.equal(torch.bmm(a[i : i + 1], b[i : i + 1])[0], whole[i]):
                    return False
            for start in range(large - small + 1):
                part = a[:, start : start + small].contiguous()
                if not torch.equal(torch.bmm(part, b), whole[:, start : start + small]):
                    return False
        return True

    def _run(self, q: torch.Tensor, layer: int, groups: Iterable[Group]) -> torch.Tensor:
        """q [M, heads, D] against the cache; returns [M, heads, D], zeros in rows that are in no group."""
        rows = len(q)
        wide = q.float()
        top = q.new_full((rows, self.kv_heads, self.fold), -torch.inf, dtype=torch.float32)
        mass = torch.zeros_like(top)
        total = q.new_zeros((rows, self.kv_heads, self.fold, self.head_dim), dtype=torch.float32)
        held = []
        for group in groups:
            k, v = self._cache.read(layer, group.keys)
            scores = self._scores(wide, k.float(), group)
            best = self._by_token(scores.amax((2, 4)), group).index_select(0, group.take)
            top.index_copy_(0, group.put, torch.maximum(top.index_select(0, group.put), best))
            held.append((group, scores, v))
        for group, scores, v in held:
            self._add(scores, v.float(), top, mass, total, group)
        mass.masked_fill_(mass == 0, 1.0)  # rows in no group
        return (total / mass.unsqueeze(-1)).view(q.shape).to(q.dtype)

    def _scores(self, q: torch.Tensor, k: torch.Tensor, group: Group) -> torch.Tensor:
        """[T, kv_heads, N, Q * fold, CHUNK], masked."""
        t, n, m, d, heads = group.tiles, group.chunks, group.padded, self.head_dim, self.kv_heads
        real = group.tokens * self.fold
        folded = q.index_select(0, group.rows).view(t, group.tokens, heads, self.fold, d)
        folded = folded.permute(0, 2, 1, 3, 4).reshape(t, heads, 1, real, d)
        if real < m:
            folded = pad(folded, (0, 0, 0, m - real))
        queries = folded.expand(t, heads, n, m, d).reshape(-1, m, d)
        scores = torch.bmm(queries, self._per_tile(k, group).transpose(1, 2))
        scores = self._score(scores[:, :real].contiguous()).view(t, heads, n, real, CHUNK)
        return scores if group.mask is None else scores.masked_fill_(group.mask, -torch.inf)

    def _add(
        self,
        scores: torch.Tensor,
        v: torch.Tensor,
        top: torch.Tensor,
        mass: torch.Tensor,
        total: torch.Tensor,
        group: Group,
    ) -> None:
        """Adds the group's chunks, first to last, to what its rows have so far."""
        t, n, m, d, heads = group.tiles, group.chunks, group.padded, self.head_dim, self.kv_heads
        real = group.tokens * self.fold
        best = top.index_select(0, group.rows).view(t, group.tokens, heads, self.fold)
        best = best.permute(0, 2, 1, 3).reshape(t, heads, 1, real, 1)
        weights = elementwise(torch.exp2_, scores.sub_(best))
        sums = weights.sum(-1)
        flat = weights.view(-1, real, CHUNK)
        if real < m:
            flat = pad(flat, (0, 0, 0, m - real))
        values = self._per_tile(pad(v, (0, value_width(d) - d)) if d % 8 else v, group)
        mixed = torch.bmm(flat, values)[:, :real, :d].reshape(t, heads, n, real, d)
        running_mass = mass.index_select(0, group.put)
        running = total.index_select(0, group.put)
        for i in range(n):
            running_mass = running_mass + self._by_token(sums[:, :, i], group).index_select(0, group.take)
            running = running + self._by_token(mixed[:, :, i], group).index_select(0, group.take)
        mass.index_copy_(0, group.put, running_mass)
        total.index_copy_(0, group.put, running)

    def _per_tile(self, x: torch.Tensor, group: Group) -> torch.Tensor:
        """Keys or values as [T * kv_heads * N, CHUNK, D]; a shared group has one set for all its tiles."""
        if not group.shared:
            return x.view(-1, CHUNK, x.shape[-1])
        one = x.view(1, self.kv_heads * group.chunks, CHUNK, x.shape[-1])
        return one.expand(group.tiles, -1, -1, -1).reshape(-1, CHUNK, x.shape[-1])

    def _by_token(self, x: torch.Tensor, group: Group) -> torch.Tensor:
        """[T, kv_heads, Q * fold, ...] to [T * Q, kv_heads, fold, ...]."""
        rest = x.shape[3:]
        x = x.view(group.tiles, self.kv_heads, group.tokens, self.fold, *rest).transpose(1, 2)
        return x.reshape(group.tiles * group.tokens, self.kv_heads, self.fold, *rest)
