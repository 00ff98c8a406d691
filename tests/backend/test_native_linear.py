"""Linear layers of the native kernels: right, and with bits of a row that nothing around it changes."""

import pytest
import torch

from lampc.backend.native.library import Library
from lampc.backend.native.linear import Memory, NativeLinear

SHAPES = [(128, 64, True), (192, 896, False), (50, 36, True), (37, 33, False), (64, 1200, True), (1100, 48, False)]
DTYPES = [torch.float32, torch.bfloat16]


def layer(kernels: Library, n: int, k: int, dtype: torch.dtype, bias: bool) -> tuple[NativeLinear, torch.Tensor, ...]:
    """The layer, 600 rows of x, and what they give in float64."""
    noise = torch.Generator().manual_seed(n * k)
    weight = (torch.randn(n, k, generator=noise) / k**0.5).to(dtype)
    offset = torch.randn(n, generator=noise).to(dtype) if bias else None
    x = torch.randn(600, k, generator=noise).to(dtype)
    right = torch.nn.functional.linear(x.double(), weight.double(), None if offset is None else offset.double())
    return NativeLinear(kernels, weight, offset, Memory(kernels)), x, right


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "k", "bias"), SHAPES)
def test_results_are_those_of_exact_arithmetic(
    kernels: Library, n: int, k: int, bias: bool, dtype: torch.dtype
) -> None:
    linear, x, right = layer(kernels, n, k, dtype, bias)
    assert torch.allclose(linear(x, wide=True).double(), right, rtol=1e-5, atol=3e-5)
    narrow = linear(x)
    assert narrow.dtype is dtype
    assert torch.equal(narrow, linear(x, wide=True).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "k", "bias"), SHAPES)
def test_a_row_has_the_same_bits_among_any_number_of_others(
    kernels: Library, n: int, k: int, bias: bool, dtype: torch.dtype
) -> None:
    linear, x, _ = layer(kernels, n, k, dtype, bias)
    full = linear(x)
    for count in [*range(1, 71), 251, 252, 253, 300, 504, 505]:
        assert torch.equal(linear(x[:count]), full[:count])
        assert torch.equal(linear(x[-count:]), full[-count:])
    turned = torch.arange(len(x)).flip(0)
    assert torch.equal(linear(x[turned]), full[turned])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_no_bit(kernels: Library, dtype: torch.dtype, three_threads: None) -> None:
    for n, k, bias in SHAPES:
        linear, x, _ = layer(kernels, n, k, dtype, bias)
        counts = (1, 7, 70, 600)
        several = [linear(x[:count]) for count in counts]
        torch.set_num_threads(1)
        assert all(torch.equal(linear(x[:count]), found) for count, found in zip(counts, several))
        torch.set_num_threads(3)


def test_values_that_are_not_numbers_stay_in_their_row(kernels: Library) -> None:
    for dtype in DTYPES:
        linear, x, _ = layer(kernels, 128, 65, dtype, False)
        clean = linear(x[:20])
        x[3, 64], x[7, 0] = torch.nan, torch.inf
        got = linear(x[:20])
        assert got[3].isnan().all()
        assert not got[7].isfinite().any()
        others = [i for i in range(20) if i not in (3, 7)]
        assert torch.equal(got[others], clean[others])


def test_no_rows(kernels: Library) -> None:
    linear, x, _ = layer(kernels, 128, 64, torch.float32, True)
    assert linear(x[:0]).shape == (0, 128)


def test_an_input_that_does_not_fit_is_refused(kernels: Library) -> None:
    linear, x, _ = layer(kernels, 128, 64, torch.bfloat16, False)
    for wrong in (x.float(), x[:, :63], x[0]):
        with pytest.raises(ValueError, match=r"this layer takes torch\.bfloat16 \[rows, 64\]"):
            linear(wrong)
