"""Products of rows with the weights of their experts: one launch for all experts (a grouped GEMM).

Pairs of a row and one of its experts stand in the order of experts (`lampc.backend.kernels.routing`). A program
computes some pairs of one expert x some outputs over all of K. How many pairs an expert has is known on the device
alone: there are programs for as many as there can be, and those without pairs end at once. Floor, P pairs of A experts
that any row has chosen, weights [N, K] of w bytes a value (1 in eight bits, and 4 N more a weight for scales), rows of
b bytes a value: A N K w + P (K + N) b bytes, 2 P N K FLOPs. With P above some hundreds per expert FLOPs bound it.

A pair's bits depend on its row and its expert alone: tiles are the same in every launch of exact mode, K is taken in
one order, and what a row's experts give is added in the order in which the row has chosen them.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from lampc.backend.int8 import decode
from lampc.backend.kernels.checks import check_rows, check_same, check_shape


class Weights(NamedTuple):
    """Of all experts: values [E, N, K], int8 with scales [E, N], float32, or in the activations' dtype with none."""

    values: torch.Tensor
    scales: torch.Tensor | None = None


class Groups(NamedTuple):
    """P pairs by expert: order [P] and starts [E + 1], int32, of rows with `chosen` experts each; see `sort_pairs`."""

    order: torch.Tensor
    starts: torch.Tensor
    chosen: int


@triton.jit
def grouped_kernel(
    x: tl.tensor,
    values: tl.tensor,
    scales: tl.tensor,
    order: tl.tensor,
    starts: tl.tensor,
    shares: tl.tensor,
    out: tl.tensor,
    n: tl.constexpr,
    k: tl.constexpr,
    chosen: tl.constexpr,
    row_block: tl.constexpr,
    block: tl.constexpr,
    step: tl.constexpr,
    gather: tl.constexpr,
    coded: tl.constexpr,
    wide: tl.constexpr,
) -> None:
    """One program for each expert, tile of its pairs and block of outputs, these side by side.

    gather: x [M, k] has a row for all its pairs, out [P, n] is in the order of experts. Else x [P, k] is in that order,
    and out [P, n] in that of pairs, times `shares` [P]. `wide` as in `attention.py`.
    """
    expert = tl.program_id(2).to(tl.int64)
    begin = tl.load(starts + expert)
    end = tl.load(starts + expert + 1)
    first = begin + tl.program_id(1) * row_block
    if first >= end:
        return
    place = first + tl.arange(0, row_block)
    live = place < end
    pair = tl.load(order + place, mask=live, other=0)
    source = (pair // chosen if gather else place).to(tl.int64)
    output = tl.program_id(0) * block + tl.arange(0, block)
    real = output < n
    at = tl.arange(0, step)
    rows = x + source[:, None] * k + at[None, :]
    columns = values + (expert * n + output)[None, :] * k + at[:, None]
    total = tl.zeros([row_block, block], tl.float32)
    for done in range(0, k, step):
        inside = at < k - done
        a = tl.load(rows + done, mask=live[:, None] & inside[None, :], other=0.0)
        w = tl.load(columns + done, mask=real[None, :] & inside[:, None], other=0)
        if wide:
            a = a.to(tl.float32)
        total = tl.dot(a, w.to(a.dtype), total, input_precision="ieee")
    if coded:
        total = total * tl.load(scales + expert * n + output, mask=real, other=0.0)[None, :]
    if not gather:
        total = total * tl.load(shares + pair, mask=live, other=0.0)[:, None]
    target = (place if gather else pair).to(tl.int64)[:, None] * n + output[None, :]
    tl.store(out + target, total.to(out.dtype.element_ty), mask=live[:, None] & real[None, :])


@triton.jit
def add_chosen_kernel(
    parts: tl.tensor, out: tl.tensor, n: tl.constexpr, chosen: tl.constexpr, block: tl.constexpr
) -> None:
    """A program adds the parts [M, chosen, n] of a row, in float32, from the first to the last: out [M, n]."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < n
    total = tl.zeros([block], tl.float32)
    for i in tl.static_range(chosen):
        total += tl.load(parts + (row * chosen + i) * n + at, mask=inside, other=0.0)
    tl.store(out + row * n + at, total.to(out.dtype.element_ty), mask=inside)


def launch_shape(k: int, exact: bool, pairs: int, experts: int) -> dict[str, int]:
    """Tiles: always the same in exact mode, else by how many pairs an expert has on average."""
    step = max(16, min(64, triton.next_power_of_2(k)))
    if exact:
        return {"row_block": 32, "block": 64, "step": step, "num_warps": 4, "num_stages": 3}
    if pairs < 16 * experts:
        return {"row_block": 16, "block": 64, "step": step, "num_warps": 4, "num_stages": 4}
    return {"row_block": 64, "block": 128, "step": min(32, step), "num_warps": 8, "num_stages": 3}


def grouped(
    x: torch.Tensor,
    weights: Weights,
    groups: Groups,
    exact: bool,
    shares: torch.Tensor | None = None,
    wide: bool = False,
) -> torch.Tensor:
    """x [M, K] times the weights of each row's experts: [P, N] in x's dtype, in the order of experts.

    With `shares` [P], float32, of pairs: x [P, K] is in that order, and the result, in float32, in that of pairs.
    Raises ValueError.
    """
    experts, n, k = weights.values.shape
    pairs = len(groups.order)
    check_shape("x", x, pairs if shares is not None else pairs // groups.chosen, k)
    check_rows(x=x, values=weights.values, order=groups.order, starts=groups.starts)
    check_shape("starts", groups.starts, experts + 1)
    coded = weights.scales is not None
    if weights.scales is not None:
        check_shape("scales", weights.scales, experts, n)
        check_rows(scales=weights.scales)
    check_same("values", weights.values, torch.int8 if coded else x.dtype)
    if shares is not None:
        check_shape("shares", shares, pairs)
    out = x.new_empty(pairs, n, dtype=x.dtype if shares is None else torch.float32)
    if not pairs:
        return out
    tile = launch_shape(k, exact, pairs, experts)
    most = triton.cdiv(pairs // groups.chosen, tile["row_block"])  # a row has an expert once at most
    grouped_kernel[(triton.cdiv(n, tile["block"]), most, experts)](
        *(x, weights.values, weights.values if weights.scales is None else weights.scales),
        *(groups.order, groups.starts, groups.starts if shares is None else shares, out),
        n=n,
        k=k,
        chosen=groups.chosen,
        gather=shares is None,
        coded=coded,
        wide=wide,
        **tile,
    )
    return out


def add_chosen(parts: torch.Tensor, chosen: int, dtype: torch.dtype) -> torch.Tensor:
    """The sums [M, N] of each row's parts, float32 [M * chosen, N]. Raises ValueError."""
    pairs, n = parts.shape
    check_rows(parts=parts)
    check_same("parts", parts, torch.float32)
    out = parts.new_empty(pairs // chosen, n, dtype=dtype)
    if pairs:
        add_chosen_kernel[(len(out), triton.cdiv(n, 1024))](parts, out, n, chosen, 1024, num_warps=4)
    return out


def grouped_torch(
    x: torch.Tensor, weights: Weights, groups: Groups, shares: torch.Tensor | None = None
) -> torch.Tensor:
    """The twin of `grouped`."""
    pairs, out = groups.order.long(), []
    source = x if shares is not None else x[pairs // groups.chosen]
    wide = weights.values.float() if weights.scales is None else decode(weights.values, weights.scales)
    for expert, (begin, end) in enumerate(zip(groups.starts.tolist(), groups.starts[1:].tolist(), strict=False)):
        out.append(source[begin:end].float() @ wide[expert].T)
    found = torch.cat(out)
    if shares is None:
        return found.to(x.dtype)
    placed = torch.empty_like(found)
    placed[pairs] = found * shares[pairs].unsqueeze(1)
    return placed


def add_chosen_torch(parts: torch.Tensor, chosen: int, dtype: torch.dtype) -> torch.Tensor:
    """The twin of `add_chosen`."""
    return parts.view(-1, chosen, parts.shape[1]).sum(1).to(dtype)
