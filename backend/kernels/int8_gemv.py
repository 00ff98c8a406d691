"""Products of few rows with a weight in int8: decoding reads half the bytes.

A weight [N, K] is kept as whole numbers of -127 .. 127 with a float32 scale per group of values along K, or one per
output channel (a group of all K). Activations stay as they are; codes are exact in float16 and bfloat16, products are
added in float32, each group's sum is multiplied by its scale. Floor, M <= 16 rows: N K + 4 N K / group bytes of weight,
(M K + M N) b bytes of activations; 2 M N K FLOPs. With M above 16 the weight is read once per 16 rows: there, torch's
GEMM on a bfloat16 weight is better.

A program computes 16 rows x some channels over a stretch of K, always in the same tiles, whatever M is; stretches are
added in order by a second launch. How K is cut depends on N and K alone, so a row's bits depend on the row alone.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from lampc.backend.kernels.checks import check_rows, check_same, check_shape

_ROWS = 16  # the least that tensor cores take
_CHANNELS = 32
_PROGRAMS = 512  # so many keep the memory of a large device busy
_LONGEST = 128  # values along K in one product
_STEPS = 4  # products in a row, at least, so that loads can run ahead of them


class Int8Weight(NamedTuple):
    """codes [N, K], int8; scales [N, K / group], float32; bias [N] or none."""

    codes: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None = None


@triton.jit(do_not_specialize=["rows"])  # the code must not depend on how many rows there are
def int8_gemv_kernel(
    x: tl.tensor,
    codes: tl.tensor,
    scales: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,  # [M, N], or [stretches, M, N] in float32
    rows: tl.tensor,
    n: tl.constexpr,
    k: tl.constexpr,
    group: tl.constexpr,
    stretch: tl.constexpr,  # a multiple of step, as group is
    step: tl.constexpr,
    row_block: tl.constexpr,
    block: tl.constexpr,
    biased: tl.constexpr,
) -> None:
    channel = tl.program_id(0) * block + tl.arange(0, block)
    row = tl.program_id(2) * row_block + tl.arange(0, row_block)
    at = tl.arange(0, step)
    real = channel < n
    wanted = row < rows
    first = tl.program_id(1) * stretch
    total = tl.zeros([block, row_block], tl.float32)
    for begin in range(0, stretch, step):
        place = first + begin + at
        w = tl.load(
            codes + channel.to(tl.int64)[:, None] * k + place[None, :],
            mask=real[:, None] & (place < k)[None, :],
            other=0,
        )
        a = tl.load(
            x + row.to(tl.int64)[None, :] * k + place[:, None], mask=wanted[None, :] & (place < k)[:, None], other=0.0
        )
        scale = tl.load(
            scales + channel * (k // group) + (first + begin) // group, mask=real & (first + begin < k), other=0.0
        )
        total += tl.dot(w.to(a.dtype), a, input_precision="ieee") * scale[:, None]
    if biased:
        total += tl.load(bias + channel, mask=real, other=0.0).to(tl.float32)[:, None]
    target = (tl.program_id(1) * rows + row).to(tl.int64)[None, :] * n + channel[:, None]
    tl.store(out + target, total.to(out.dtype.element_ty), mask=real[:, None] & wanted[None, :])


@triton.jit(do_not_specialize=["size"])
def sum_stretches_kernel(
    parts: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    size: tl.tensor,
    n: tl.constexpr,
    count: tl.constexpr,
    block: tl.constexpr,
    biased: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    total = tl.zeros([block], tl.float32)
    for i in range(count):
        total += tl.load(parts + i * size + at, mask=inside, other=0.0)
    if biased:
        total += tl.load(bias + at % n, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)


def int8_gemv(x: torch.Tensor, weight: Int8Weight) -> torch.Tensor:
    """x [M, K] times the weight, transposed, plus its bias: [M, N] in x's dtype. Raises ValueError."""
    rows, n, k, group = _check(x, weight)
    out = x.new_empty(rows, n)
    if not rows:
        return out
    shape = launch_shape(n, k, group)
    count = triton.cdiv(k, shape["stretch"])
    biased = weight.bias is not None
    bias = weight.scales if weight.bias is None else weight.bias
    parts = out if count == 1 else x.new_empty(count, rows, n, dtype=torch.float32)
    grid = (triton.cdiv(n, _CHANNELS), count, triton.cdiv(rows, _ROWS))
    int8_gemv_kernel[grid](
        x,
        weight.codes,
        weight.scales,
        bias,
        parts,
        rows,
        **shape,
        biased=biased and count == 1,
        num_warps=4,
        num_stages=4,
    )
    if count > 1:
        sum_stretches_kernel[(triton.cdiv(rows * n, 256),)](
            parts, bias, out, rows * n, n, count, 256, biased, num_warps=4
        )
    return out


def launch_shape(n: int, k: int, group: int) -> dict[str, int]:
    """The kernel's constants for a weight [N, K]: how K is cut, into steps and stretches of steps, and the tiles."""
    step = min(_LONGEST, triton.next_power_of_2(group))
    steps = triton.cdiv(k, step)
    count = max(1, min(_PROGRAMS // triton.cdiv(n, _CHANNELS), steps // _STEPS))
    stretch = triton.cdiv(steps, count) * step
    return {"n": n, "k": k, "group": group, "stretch": stretch, "step": step, "row_block": _ROWS, "block": _CHANNELS}


def int8_gemv_torch(x: torch.Tensor, weight: Int8Weight) -> torch.Tensor:
    """The twin of `int8_gemv`."""
    _, n, _, group = _check(x, weight)
    wide = (weight.codes.view(n, -1, group).float() * weight.scales.unsqueeze(-1)).view(n, -1)
    product = x.float() @ wide.T
    if weight.bias is not None:
        product = product + weight.bias.float()
    return product.to(x.dtype)


def quantize(weight: torch.Tensor, group: int | None = None, bias: torch.Tensor | None = None) -> Int8Weight:
    """A weight [N, K] in int8, with a scale per `group` values along K, or per output channel: symmetric, the largest
    value of a group becomes 127. Raises ValueError."""
    n, k = weight.shape
    group = k if group is None else group
    if group <= 0 or k % group:
        raise ValueError(f"groups of {group} do not divide rows of {k} values")
    wide = weight.float().view(n, -1, group)
    scales = wide.abs().amax(-1) / 127.0
    codes = (wide / scales.masked_fill(scales == 0, 1.0).unsqueeze(-1)).round_()
    return Int8Weight(codes.to(torch.int8).view(n, k), scales, bias)


def _check(x: torch.Tensor, weight: Int8Weight) -> tuple[int, int, int, int]:
    rows, k = x.shape
    n, groups = weight.scales.shape
    check_shape("codes", weight.codes, n, k)
    check_same("codes", weight.codes, torch.int8)
    check_same("scales", weight.scales, torch.float32)
    check_rows(x=x, codes=weight.codes, scales=weight.scales)
    group = k // groups
    if group * groups != k or (groups > 1 and group & (group - 1)) or group < 16:
        raise ValueError(f"groups of {group} along rows of {k}; a power of two from 16 on, or whole rows, are wanted")
    if weight.bias is not None:
        check_shape("bias", weight.bias, n)
    return rows, n, k, group
