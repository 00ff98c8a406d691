"""Products with int8 weights against their twin."""

import pytest
import torch

from lampc.backend.kernels.int8_gemv import int8_gemv, int8_gemv_torch, quantize

# float32 sums in another order; float16 is what activations are rounded to, in and out.
TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-3}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("rows", "n", "k", "group"),
    [
        (1, 64, 256, None),
        (3, 40, 896, None),  # channels, and values along K, that fill no tile
        (16, 33, 96, None),
        (17, 32, 128, 16),
        (5, 48, 2048, 64),  # several stretches of K
        (2, 96, 1024, 128),
        (1, 32, 1024, 256),
    ],
)
def test_equals_its_twin(
    rows: int, n: int, k: int, group: int | None, dtype: torch.dtype, device: torch.device
) -> None:
    noise = torch.Generator().manual_seed(n)
    bias = torch.randn(n, generator=noise).to(dtype).to(device) if n % 3 else None
    weight = quantize(torch.randn(n, k, generator=noise).to(device) / k**0.5, group, bias)
    x = torch.randn(rows, k, generator=noise).to(dtype).to(device)
    want = int8_gemv_torch(x, weight)
    torch.testing.assert_close(int8_gemv(x, weight), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("group", [None, 32])
def test_quantizing_loses_half_a_step_at_most(group: int | None) -> None:
    weight = torch.randn(24, 128, generator=torch.Generator().manual_seed(0))
    weight[3] = 0.0
    made = quantize(weight, group)
    steps = made.scales.repeat_interleave(group or 128, dim=1)
    assert ((made.codes * steps - weight).abs() <= steps * 0.5001).all()
    assert made.codes.int().abs().max() == 127
    assert made.scales.shape == (24, 128 // (group or 128))


def test_a_row_is_the_same_alone_and_among_others(device: torch.device) -> None:
    noise = torch.Generator().manual_seed(0)
    weight = quantize(torch.randn(48, 1024, generator=noise).to(device), 64)
    x = torch.randn(19, 1024, generator=noise).to(device)
    whole = int8_gemv(x, weight)
    for rows in (slice(0, 1), slice(7, 10), slice(18, 19)):
        assert torch.equal(int8_gemv(x[rows], weight), whole[rows])


def test_what_does_not_fit_is_refused(device: torch.device) -> None:
    weight = quantize(torch.randn(8, 96, device=device))
    with pytest.raises(ValueError, match="codes is"):
        int8_gemv(torch.zeros(1, 64, device=device), weight)
    with pytest.raises(ValueError, match="power of two"):
        int8_gemv(torch.zeros(1, 96, device=device), quantize(torch.randn(8, 96, device=device), 48))
    with pytest.raises(ValueError, match="divide"):
        quantize(torch.zeros(8, 96), 50)
    assert int8_gemv(torch.zeros(0, 96, device=device), weight).shape == (0, 8)
