"""Weights packed once into the order in which oneDNN's kernels read them, through the operators that torch has for it.

Plain `linear` brings each weight into that order again at every call, or does without it. `benchmarks/linear.py`
measures what packing gains. Where torch has no oneDNN (or not for this number format), weights stay plain.
"""

import functools

import torch
from torch.nn import functional

_FORMATS = (torch.float32, torch.bfloat16)


@functools.cache
def supported(device: str, dtype: torch.dtype) -> bool:
    """Whether weights of this kind can be packed here: tried out on a small one."""
    if device != "cpu" or dtype not in _FORMATS:
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    noise = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 32, generator=noise).to(dtype)
    x, bias = torch.randn(5, 32, generator=noise).to(dtype), torch.randn(48, generator=noise).to(dtype)
    try:
        found = product(x, pack(weight), bias)
    except (RuntimeError, NotImplementedError, AttributeError):  # operators that this build of torch lacks
        return False
    return torch.allclose(found.float(), functional.linear(x, weight, bias).float(), rtol=2e-2, atol=2e-2)


def pack(weight: torch.Tensor) -> torch.Tensor:
    """weight [N, K] in an opaque order of the same size; only `product` can use it."""
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return packed


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x [M, K] times weight [N, K] transposed, plus bias [N]; the weight plain or packed."""
    if not weight.is_mkldnn:
        return functional.linear(x, weight, bias)
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], None)
    return out
