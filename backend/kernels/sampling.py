"""Tokens drawn from rows of logits on a device, by the rules of `lampc.backend.sampler`.

Four launches, nothing read back by the host in between: the best of each tile of the vocabulary; weights summed by
tile, and for rows with top-k or top-p also by a ladder of thresholds; the tokens above the lowest rung that is enough,
gathered in order of their ids; the draw. All greedy: the first two. Weights and sums are float64, added in fixed
orders and tiles, so a row's token depends on its logits, its settings, its key and its index alone.

What is equal to the CPU's sampler: the uniform numbers bit for bit, greedy tokens always. Drawn tokens are equal unless
the uniform number, or a threshold, lies within rounding of float64 (about 1e-13 of a row's total weight) of a boundary
between two tokens: the CPU adds in another order, and its exp differs in the last bit.

Floor, n rows of V tokens: 4 n V bytes, the logits read once. Read are 4 n V (greedy), 8 n V (random) or
12 n V (top-k, top-p), which lie in the L2 cache for up to about 80 rows of 151,936; 40 n V FLOPs in float64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl

from lampc.backend.kernels.checks import check_rows, check_same
from lampc.backend.kernels.nucleus import draw_kernel
from lampc.backend.kernels.uniform import key_tensor, uniforms_torch
from lampc.backend.sampler import Draw
from lampc.backend.staging import upload

_TILE = 4096  # tokens that one program looks at
_RUNGS = 16  # rung i holds tokens with logits at most i + 1 temperatures below the best, the last one all


class SamplingRows(NamedTuple):
    """Settings by row, [n]: temperature (0: greedy), top_p, min_p in float64, top_k in int32 (0: off); keys by their
    bits and indices in int64. `random` and `filtered` say whether any row draws, and draws under top-k or top-p."""

    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    min_p: torch.Tensor
    keys: torch.Tensor
    indices: torch.Tensor
    random: bool
    filtered: bool

    @classmethod
    def of(cls, draws: Sequence[Draw | None], device: torch.device) -> "SamplingRows":
        """Settings of rows, None for greedy. `banned` ids are a matter of masks: see `token_masks`."""
        found = [None if d is None or d.sampling.temperature == 0.0 else d for d in draws]
        each = [d.sampling if d else None for d in found]
        return cls(
            upload(np.array([s.temperature if s else 0.0 for s in each], np.float64), device),
            upload(np.array([min(s.top_k, (1 << 31) - 1) if s else 0 for s in each], np.int32), device),
            upload(np.array([s.top_p if s else 1.0 for s in each], np.float64), device),
            upload(np.array([s.min_p if s else 0.0 for s in each], np.float64), device),
            upload(key_tensor([d.key if d else 0 for d in found]).numpy(), device),
            upload(np.array([d.index if d else 0 for d in found], np.int64), device),
            any(each),
            any(s is not None and (s.top_k > 0 or s.top_p < 1.0) for s in each),
        )


class SamplingSpace:
    """What launches hand on to one another, for up to `rows` rows of `vocab` tokens: 4 bytes per logit and a little."""

    def __init__(self, rows: int, vocab: int, device: torch.device) -> None:
        self.rows, self.vocab = rows, vocab
        self.tiles = triton.cdiv(vocab, _TILE)
        shape = (rows, self.tiles)
        self.tops = torch.empty(shape, dtype=torch.float32, device=device)  # best logit of each tile
        self.best = torch.empty(shape, dtype=torch.int32, device=device)  # and its token
        self.sums = torch.empty(shape, dtype=torch.float64, device=device)
        self.rungs = torch.empty((*shape, _RUNGS), dtype=torch.float64, device=device)
        self.counts = torch.empty((*shape, _RUNGS), dtype=torch.int32, device=device)
        self.found = torch.empty((rows, vocab), dtype=torch.int32, device=device)  # gathered tokens
        self.counted = torch.empty(rows, dtype=torch.int32, device=device)  # and how many


@triton.jit
def best_kernel(
    logits: tl.tensor, tops: tl.tensor, best: tl.tensor, vocab: tl.tensor, tiles: tl.tensor, tile: tl.constexpr
) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * tile + tl.arange(0, tile)
    x = tl.load(logits + row * vocab + at, mask=at < vocab, other=float("-inf"))
    x = tl.where(x != x, float("inf"), x)  # what is no number must not hide
    top = tl.max(x, axis=0)
    tl.store(tops + row * tiles + tl.program_id(1), top)
    tl.store(best + row * tiles + tl.program_id(1), tl.min(tl.where(x == top, at, vocab), axis=0))


@triton.jit
def weigh_kernel(
    logits: tl.tensor,
    tops: tl.tensor,
    best: tl.tensor,
    temperatures: tl.tensor,
    top_ks: tl.tensor,
    top_ps: tl.tensor,
    min_ps: tl.tensor,
    sums: tl.tensor,
    rungs: tl.tensor,
    counts: tl.tensor,
    tokens: tl.tensor,
    vocab: tl.tensor,
    tiles: tl.tensor,
    tile: tl.constexpr,
    tile_block: tl.constexpr,
    levels: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    all_tiles = tl.arange(0, tile_block)
    each = tl.load(tops + row * tiles + all_tiles, mask=all_tiles < tiles, other=float("-inf"))
    top = tl.max(each, axis=0)
    finite = tl.abs(top) < float("inf")
    if part == 0:
        ids = tl.load(best + row * tiles + all_tiles, mask=all_tiles < tiles, other=0)
        token = tl.min(tl.where((each == top) & (all_tiles < tiles), ids, vocab), axis=0)
        tl.store(tokens + row, tl.where(finite, token, -1).to(tl.int64))
    temperature = tl.load(temperatures + row)
    if (temperature > 0.0) & finite:
        top_k = tl.load(top_ks + row)
        filtered = ((top_k > 0) & (top_k < vocab)) | (tl.load(top_ps + row) < 1.0)
        at = part * tile + tl.arange(0, tile)
        z = tl.load(logits + row * vocab + at, mask=at < vocab, other=float("-inf"))
        steps = (z.to(tl.float64) - top.to(tl.float64)) / temperature
        weights = tl.exp(steps)
        least = tl.where(filtered, 0.0, tl.load(min_ps + row))
        tl.store(sums + row * tiles + part, tl.sum(tl.where(weights >= least, weights, 0.0), axis=0))
        if filtered:
            place = (row * tiles + part) * levels
            for level in range(levels):
                # The last rung holds what is infinitely unlikely, too.
                above = ((steps >= -1.0 - level) | (level == levels - 1)) & (at < vocab)
                tl.store(rungs + place + level, tl.sum(tl.where(above, weights, 0.0), axis=0))
                tl.store(counts + place + level, tl.sum(above.to(tl.int32), axis=0))


@triton.jit
def gather_kernel(
    logits: tl.tensor,
    tops: tl.tensor,
    temperatures: tl.tensor,
    top_ks: tl.tensor,
    top_ps: tl.tensor,
    min_ps: tl.tensor,
    rungs: tl.tensor,
    counts: tl.tensor,
    sums: tl.tensor,
    found: tl.tensor,
    counted: tl.tensor,
    vocab: tl.tensor,
    tiles: tl.tensor,
    tile: tl.constexpr,
    tile_block: tl.constexpr,
    levels: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    all_tiles = tl.arange(0, tile_block)
    top = tl.max(tl.load(tops + row * tiles + all_tiles, mask=all_tiles < tiles, other=float("-inf")), axis=0)
    temperature = tl.load(temperatures + row)
    top_k = tl.load(top_ks + row)
    top_k = tl.where(top_k < vocab, top_k, 0)
    top_p = tl.load(top_ps + row)
    if (temperature > 0.0) & (tl.abs(top) < float("inf")) & ((top_k > 0) | (top_p < 1.0)):
        level = tl.arange(0, levels)
        place = (row * tiles + all_tiles)[:, None] * levels + level[None, :]
        there = (all_tiles < tiles)[:, None]
        mass = tl.sum(tl.load(rungs + place, mask=there, other=0.0), axis=0)
        each = tl.load(counts + place, mask=there, other=0)
        number = tl.sum(each, axis=0)
        total = tl.sum(tl.load(sums + row * tiles + all_tiles, mask=all_tiles < tiles, other=0.0), axis=0)
        enough = ((top_k > 0) & (number >= top_k)) | ((top_k == 0) & (mass >= top_p * total))
        # Below a rung all weights are under exp(-1 - level), so that min_p may drop them; not if top_p needs the sum
        # of the top k.
        dropped = tl.exp(-1.0 - level.to(tl.float64)) * 1.000001 < tl.load(min_ps + row)
        enough |= dropped & ((top_k == 0) | (top_p >= 1.0))
        chosen = tl.min(tl.where(enough, level, levels - 1), axis=0)
        mine = tl.sum(tl.where(level[None, :] == chosen, each, 0), axis=1)
        before = tl.sum(tl.where(all_tiles < part, mine, 0), axis=0)
        if part == 0:
            tl.store(counted + row, tl.sum(mine, axis=0))
        at = part * tile + tl.arange(0, tile)
        z = tl.load(logits + row * vocab + at, mask=at < vocab, other=float("-inf"))
        steps = (z.to(tl.float64) - top.to(tl.float64)) / temperature
        above = ((steps >= -1.0 - chosen) | (chosen == levels - 1)) & (at < vocab)
        to = before + tl.cumsum(above.to(tl.int32), axis=0) - 1
        tl.store(found + row * vocab + to, at, mask=above)


def likeliest(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each row of logits [n, vocab], float32, the id of the largest, int64 [n], and that logit [n]: the first of
    equals; inf for a row with NaN. Raises ValueError."""
    check_rows(logits=logits)
    check_same("logits", logits, torch.float32)
    count, vocab = logits.shape
    tiles = triton.cdiv(vocab, _TILE)
    tops = logits.new_empty(count, tiles)
    best = torch.empty(count, tiles, dtype=torch.int32, device=logits.device)
    if count:
        best_kernel[(count, tiles)](logits, tops, best, vocab, tiles, _TILE, num_warps=8)
    top = tops.amax(1)
    return torch.where(tops == top.unsqueeze(1), best, vocab).amin(1).long(), top


def sample(logits: torch.Tensor, rows: SamplingRows, space: SamplingSpace) -> torch.Tensor:
    """A token for each row of logits [n, vocab], float32: int64 [n], -1 for a row that holds NaN or nothing finite.

    Raises ValueError.
    """
    _check(logits, rows)
    count, vocab = logits.shape
    if count > space.rows or vocab != space.vocab:
        raise ValueError(f"logits {(count, vocab)} in a space for {(space.rows, space.vocab)}")
    tokens = torch.empty(count, dtype=torch.int64, device=logits.device)
    if not count:
        return tokens
    s, grid, block = space, (count, space.tiles), triton.next_power_of_2(space.tiles)
    best_kernel[grid](logits, s.tops, s.best, vocab, s.tiles, _TILE, num_warps=8)
    settings = (rows.temperature, rows.top_k, rows.top_p, rows.min_p)
    weigh_kernel[grid if rows.random else (count, 1)](
        logits,
        s.tops,
        s.best,
        *settings,
        s.sums,
        s.rungs,
        s.counts,
        tokens,
        vocab,
        s.tiles,
        _TILE,
        block,
        _RUNGS,
        num_warps=8,
    )
    if rows.filtered:
        gather_kernel[grid](
            logits,
            s.tops,
            *settings,
            s.rungs,
            s.counts,
            s.sums,
            s.found,
            s.counted,
            vocab,
            s.tiles,
            _TILE,
            block,
            _RUNGS,
            num_warps=8,
        )
    if rows.random:
        draw_kernel[(count,)](
            logits,
            s.tops,
            *settings,
            rows.keys,
            rows.indices,
            s.sums,
            s.found,
            s.counted,
            tokens,
            vocab,
            s.tiles,
            _TILE,
            block,
            128,
            num_warps=8,
        )
    return tokens


def sample_torch(logits: torch.Tensor, rows: SamplingRows) -> torch.Tensor:
    """The twin of `sample`, a row at a time."""
    _check(logits, rows)
    numbers = uniforms_torch(rows.keys, rows.indices)
    return torch.stack([_one(z, rows, i, float(numbers[i])) for i, z in enumerate(logits)]).long()


def _one(z: torch.Tensor, rows: SamplingRows, i: int, u: float) -> torch.Tensor:
    top, best = z.max(0)
    if not top.isfinite():
        return torch.full_like(best, -1)
    temperature, top_k = float(rows.temperature[i]), int(rows.top_k[i])
    if temperature == 0.0:
        return (z == top).nonzero()[0, 0]
    weights = ((z.double() - top.double()) / temperature).exp()
    order = torch.arange(len(z), device=z.device)
    top_k = top_k if top_k < len(z) else 0
    if top_k or rows.top_p[i] < 1.0:
        order = (-z).sort(stable=True).indices
        order = order[: top_k or len(z)]
        if rows.top_p[i] < 1.0:
            sums = weights[order].cumsum(0)
            order = order[: int((sums < rows.top_p[i] * sums[-1]).sum()) + 1]
    order = order[weights[order] >= rows.min_p[i]]
    sums = weights[order].cumsum(0)
    at = min(int((sums <= u * sums[-1]).sum()), int((sums < sums[-1]).sum()))
    return order[at]


def _check(logits: torch.Tensor, rows: SamplingRows) -> None:
    check_rows(logits=logits)
    check_same("logits", logits, torch.float32)
    if len(rows.keys) < len(logits):
        raise ValueError(f"settings of {len(rows.keys)} rows for {len(logits)} rows of logits")
