"""Fused RMSNorm against its twin."""

import pytest
import torch

from lampc.backend.kernels.norm import rms_norm, rms_norm_torch
from lampc.backend.models import layers

# The kernel computes in float32 alone, so the interpreter can do bfloat16; but it truncates where a device rounds, at
# three places.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 2.4e-2}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("rows", "hidden"), [(1, 64), (3, 96), (2, 1000), (1, 4096)])
@pytest.mark.parametrize("add", [False, True], ids=["plain", "residual"])
def test_equals_its_twin(rows: int, hidden: int, add: bool, dtype: torch.dtype, device: torch.device) -> None:
    noise = torch.Generator().manual_seed(hidden)
    x = (3 * torch.randn(rows, hidden, generator=noise)).to(dtype).to(device)
    weight = torch.randn(hidden, generator=noise).to(dtype).to(device)
    residual = torch.randn(rows, hidden, generator=noise).to(dtype).to(device) if add else None
    twin_residual = None if residual is None else residual.clone()
    out = rms_norm(x, weight, 1e-6, residual)
    want = rms_norm_torch(x, weight, 1e-6, twin_residual)
    torch.testing.assert_close(out, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    if residual is not None:
        assert twin_residual is not None
        torch.testing.assert_close(residual, twin_residual, rtol=8e-3 if dtype == torch.bfloat16 else 0.0, atol=0.0)


def test_the_twin_is_the_norm_of_the_models(device: torch.device) -> None:
    x, weight = torch.randn(4, 64, device=device), torch.randn(64, device=device)
    assert torch.equal(rms_norm_torch(x, weight, 1e-5), layers.rms_norm(x, weight, 1e-5))


def test_a_row_is_the_same_alone_and_among_others(device: torch.device) -> None:
    x, residual = torch.randn(2, 5, 96, device=device)
    weight = torch.randn(96, device=device)
    whole = rms_norm(x, weight, 1e-6, residual.clone())
    for i in range(5):
        assert torch.equal(rms_norm(x[i : i + 1], weight, 1e-6, residual[i : i + 1].clone())[0], whole[i])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_weight_in_float32_multiplies_before_values_are_rounded(dtype: torch.dtype, device: torch.device) -> None:
    noise = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 96, generator=noise).to(dtype).to(device), torch.randn(96, generator=noise).to(device)
    wide = x.float()
    right = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6) * weight
    assert torch.equal(rms_norm_torch(x, weight, 1e-6), right.to(dtype))
    torch.testing.assert_close(rms_norm(x, weight, 1e-6).float(), right, atol=0, rtol=2**-7)


def test_rows_that_begin_anywhere_are_refused(device: torch.device) -> None:
    x = torch.randn(3, 98, device=device)
    weight = torch.randn(98, device=device)
    with pytest.raises(ValueError, match="16 bytes"):
        rms_norm(x[1:], weight, 1e-6)
    with pytest.raises(ValueError, match="contiguous"):
        rms_norm(x.T, torch.randn(3, device=device), 1e-6)
    with pytest.raises(ValueError, match="weight is"):
        rms_norm(x, weight[:-1], 1e-6)
    with pytest.raises(ValueError, match="float16"):
        rms_norm(x, weight.half(), 1e-6)
    assert rms_norm(x[:0], weight, 1e-6).shape == (0, 98)
