"""Which experts each row goes through, and the pairs of a row and an expert brought into the order of experts.

Two launches, neither of which the host waits for. `route`: a program takes a row. Floor, M rows of E logits of b bytes,
C of which are chosen: M E b + 8 M C bytes, about 4 M E + 2 M C E FLOPs. `sort_pairs`: a program takes an expert and
reads all M C pairs, twice; they stay in the cache: 4 M C bytes read, 4 M C + 4 E written.
"""

import torch
import triton
import triton.language as tl

from lampc.backend.kernels.checks import check_rows, check_same
from lampc.backend.models.experts import Mixture
from lampc.backend.models.experts import route as route_torch

_BLOCK = 1024

__all__ = ["route", "route_torch", "sort_pairs", "sort_pairs_torch"]


@triton.jit
def route_kernel(
    logits: tl.tensor,
    experts: tl.tensor,
    weights: tl.tensor,
    count: tl.constexpr,
    chosen: tl.constexpr,
    block: tl.constexpr,
    few: tl.constexpr,
    normalised: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    lane = tl.arange(0, few)
    inside = at < count
    x = tl.load(logits + row * count + at, mask=inside, other=0.0).to(tl.float32)
    # What is no number counts as the least, so that a row never has an expert twice; such a row is no number anyway.
    x = tl.where(x == x, tl.minimum(tl.maximum(x, -1e30), 1e30), -1e30)
    x = tl.where(inside, x, -1e30)
    likely = tl.where(inside, tl.exp(x - tl.max(x, 0)), 0.0)
    left = tl.where(inside, likely, -1.0)
    kept = tl.zeros([few], tl.float32)
    found = tl.zeros([few], tl.int32)
    for i in tl.static_range(chosen):
        best = tl.max(left, 0)
        first = tl.min(tl.where(left == best, at, block), 0)
        kept = tl.where(lane == i, best, kept)
        found = tl.where(lane == i, first, found)
        left = tl.where(at == first, -2.0, left)
    total = tl.sum(kept, 0) if normalised else tl.sum(likely, 0)
    tl.store(experts + row * chosen + lane, found, mask=lane < chosen)
    tl.store(weights + row * chosen + lane, kept / total, mask=lane < chosen)


@triton.jit(do_not_specialize=["pairs"])
def sort_pairs_kernel(
    experts: tl.tensor,
    order: tl.tensor,
    starts: tl.tensor,
    pairs: tl.tensor,
    count: tl.constexpr,
    block: tl.constexpr,
) -> None:
    expert = tl.program_id(0)
    at = tl.arange(0, block)
    less = tl.zeros([block], tl.int32)
    for begin in range(0, pairs, block):
        found = tl.load(experts + begin + at, mask=begin + at < pairs, other=count)
        less += (found < expert).to(tl.int32)
    place = tl.sum(less, 0)
    tl.store(starts + expert, place)
    for begin in range(0, pairs, block):
        found = tl.load(experts + begin + at, mask=begin + at < pairs, other=count)
        mine = (found == expert).to(tl.int32)
        tl.store(order + place + tl.cumsum(mine, 0) - 1, begin + at, mask=mine > 0)
        place += tl.sum(mine, 0)
    tl.store(starts + count, place, mask=expert == count - 1)


def route(logits: torch.Tensor, mixture: Mixture) -> tuple[torch.Tensor, torch.Tensor]:
    """The experts of each row, int32 [M, chosen], likeliest first, of equals the first, and their weights, float32 [M,
    chosen], of logits [M, count]. Raises ValueError."""
    check_rows(logits=logits)
    rows, count = logits.shape
    experts = logits.new_empty(rows, mixture.chosen, dtype=torch.int32)
    weights = logits.new_empty(rows, mixture.chosen, dtype=torch.float32)
    if rows:
        block, few = triton.next_power_of_2(count), triton.next_power_of_2(mixture.chosen)
        route_kernel[(rows,)](
            logits, experts, weights, count, mixture.chosen, block, few, mixture.normalised, num_warps=1
        )
    return experts, weights


def sort_pairs(experts: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of experts [M, chosen], int32, the pairs row * chosen + i in the order of their experts, int32 [M * chosen], and
    where those of each of `count` experts begin, and the last ends, int32 [count + 1]. Raises ValueError."""
    check_rows(experts=experts)
    check_same("experts", experts, torch.int32)
    order = experts.new_empty(experts.numel())
    starts = experts.new_zeros(count + 1)
    if len(order):
        sort_pairs_kernel[(count,)](experts, order, starts, len(order), count, _BLOCK, num_warps=4)
    return order, starts


def sort_pairs_torch(experts: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The twin of `sort_pairs`."""
    flat = experts.flatten()
    starts = torch.bincount(flat, minlength=count).cumsum(0)
    return flat.argsort(stable=True).int(), torch.cat([starts.new_zeros(1), starts]).int()
