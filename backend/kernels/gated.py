"""Gated activations: f(gate) * up of what one product gave side by side.

Elementwise. Floor, M rows, I values of b bytes each: 3 M I b bytes (gate and up read, one written); about 10 M I FLOPs.
"""

from typing import Literal

import torch
import triton
import triton.language as tl
from torch.nn import functional

from lampc.backend.kernels.checks import check_rows

Activation = Literal["silu", "gelu", "gelu_tanh"]
"""silu: x * sigmoid(x). gelu: x * P(N(0, 1) < x) (Hendrycks and Gimpel, arXiv 1606.08415), by erf; gelu_tanh is that
paper's approximation."""

_BLOCK = 1024


@triton.jit
def _sigmoid(x: tl.tensor) -> tl.tensor:
    """1 / (1 + exp(-x)) without an exponential that overflows."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x < 0.0, small, 1.0) / (1.0 + small)


@triton.jit
def gated_kernel(
    gate_up: tl.tensor, out: tl.tensor, inner: tl.constexpr, block: tl.constexpr, kind: tl.constexpr
) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < inner
    gate = tl.load(gate_up + row * 2 * inner + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * inner + inner + at, mask=inside, other=0.0).to(tl.float32)
    if kind == "silu":
        active = gate * _sigmoid(gate)
    elif kind == "gelu":
        active = 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    else:
        # (1 + tanh(a)) / 2 is the sigmoid of 2 a; 2 sqrt(2 / pi) stands before the polynomial.
        active = gate * _sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))
    active = active.to(out.dtype.element_ty).to(tl.float32)
    tl.store(out + row * inner + at, (active * up).to(out.dtype.element_ty), mask=inside)


def gated(gate_up: torch.Tensor, kind: Activation) -> torch.Tensor:
    """f(gate) * up [M, I] of gate_up [M, 2 * I] (Shazeer, arXiv 2002.05202). Raises ValueError."""
    rows, width = gate_up.shape
    check_rows(gate_up=gate_up)
    if width % 2:
        raise ValueError(f"gate_up is {tuple(gate_up.shape)}; gate and up are equally wide")
    out = gate_up.new_empty(rows, width // 2)
    if rows:
        grid = (rows, triton.cdiv(width // 2, _BLOCK))
        gated_kernel[grid](gate_up, out, width // 2, _BLOCK, kind, num_warps=4)
    return out


def gated_torch(gate_up: torch.Tensor, kind: Activation) -> torch.Tensor:
    """The twin of `gated`."""
    gate, up = gate_up.chunk(2, dim=-1)
    wide = gate.float()
    if kind == "silu":
        active = functional.silu(wide)
    else:
        active = functional.gelu(wide, approximate="none" if kind == "gelu" else "tanh")
    return active.to(gate_up.dtype) * up
