"""RMSNorm, with the addition of the residual stream before it, in one pass over the rows.

A program computes one row, all of it in registers. Floor, M rows of H values of b bytes: x and residual are read,
residual and out written, 4 M H b + H b bytes (2 M H b + H b without a residual); about 6 M H FLOPs, nothing beside it.
"""

import torch
import triton
import triton.language as tl

from lampc.backend.kernels.checks import check_rows, check_same, check_shape, warps


@triton.jit
def rms_norm_kernel(
    x: tl.tensor,
    residual: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    eps: tl.tensor,
    hidden: tl.constexpr,
    block: tl.constexpr,
    add: tl.constexpr,
    wide_weight: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64) * hidden
    at = tl.arange(0, block)
    inside = at < hidden
    wide = tl.load(x + row + at, mask=inside, other=0.0).to(tl.float32)
    if add:
        wide += tl.load(residual + row + at, mask=inside, other=0.0).to(tl.float32)
        rounded = wide.to(residual.dtype.element_ty)
        tl.store(residual + row + at, rounded, mask=inside)
        wide = rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, axis=0) / hidden + eps)
    unit = wide * scale
    if not wide_weight:  # rounded before the weight comes in, as most published models do it
        unit = unit.to(out.dtype.element_ty).to(tl.float32)
    by = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row + at, (unit * by).to(out.dtype.element_ty), mask=inside)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor | None = None) -> torch.Tensor:
    """RMSNorm of x [M, H] (Zhang and Sennrich, arXiv 1910.07467) times weight [H], in x's dtype.

    With `residual` [M, H], which becomes residual + x in place, that sum is normalised. A weight in float32 multiplies
    before values are rounded. Raises ValueError.
    """
    rows, hidden = x.shape
    check_shape("weight", weight, hidden)
    check_rows(x=x, weight=weight)
    wide_weight = weight.dtype is torch.float32 and x.dtype is not torch.float32
    if not wide_weight:
        check_same("weight", weight, x.dtype)
    if residual is not None:
        check_shape("residual", residual, rows, hidden)
        check_rows(residual=residual)
        check_same("residual", residual, x.dtype)
    out = torch.empty_like(x)
    if rows:
        block = triton.next_power_of_2(hidden)
        held = x if residual is None else residual
        rms_norm_kernel[(rows,)](
            x, held, weight, out, eps, hidden, block, residual is not None, wide_weight, num_warps=warps(block)
        )
    return out


def rms_norm_torch(
    x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """The twin of `rms_norm`."""
    if residual is not None:
        x = residual.add_(x)
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight.dtype is not x.dtype:
        return (wide * scale * weight).to(x.dtype)
    return (wide * scale).to(x.dtype) * weight
