"""Linear layers of the native kernels: right, and with bits of a row that nothing around it changes."""

import pytest
import torch

from lampc.backend.int8 import decode, encode
from lampc.backend.native.linear import Memory, NativeLinear
from lampc.backend.native.shared_library import Library

SHAPES = [(128, 64, True), (192, 896, False), (50, 36, True), (37, 33, False), (64, 1200, True), (1100, 48, False)]
DTYPES = [torch.float32, torch.bfloat16]
every_kind = pytest.mark.parametrize(("dtype", "int8"), [(dtype, int8) for int8 in (False, True) for dtype in DTYPES])


def layer(
    kernels: Library, n: int, k: int, dtype: torch.dtype, bias: bool, int8: bool = False
) -> tuple[NativeLinear, torch.Tensor, torch.Tensor]:
    """The layer, 600 rows of x, and what they give in float64, with the weights that are kept."""
    noise = torch.Generator().manual_seed(n * k)
    weight = (torch.randn(n, k, generator=noise) / k**0.5).to(dtype)
    offset = torch.randn(n, generator=noise).to(dtype) if bias else None
    x = torch.randn(600, k, generator=noise).to(dtype)
    kept = decode(*encode(weight)) if int8 else weight
    right = torch.nn.functional.linear(x.double(), kept.double(), None if offset is None else offset.double())
    return NativeLinear(kernels, weight, offset, Memory(kernels), int8), x, right


@every_kind
@pytest.mark.parametrize(("n", "k", "bias"), SHAPES)
def test_results_are_those_of_exact_arithmetic(
    kernels: Library, n: int, k: int, bias: bool, dtype: torch.dtype, int8: bool
) -> None:
    linear, x, right = layer(kernels, n, k, dtype, bias, int8)
    assert torch.allclose(linear(x, wide=True).double(), right, rtol=1e-5, atol=3e-5)
    narrow = linear(x)
    assert narrow.dtype is dtype
    assert torch.equal(narrow, linear(x, wide=True).to(dtype))


@every_kind
@pytest.mark.parametrize(("n", "k", "bias"), SHAPES)
def test_a_row_has_the_same_bits_among_any_number_of_others(
    kernels: Library, n: int, k: int, bias: bool, dtype: torch.dtype, int8: bool
) -> None:
    linear, x, _ = layer(kernels, n, k, dtype, bias, int8)
    full = linear(x)
    for count in [*range(1, 71), 251, 252, 253, 300, 504, 505]:
        assert torch.equal(linear(x[:count]), full[:count])
        assert torch.equal(linear(x[-count:]), full[-count:])
    turned = torch.arange(len(x)).flip(0)
    assert torch.equal(linear(x[turned]), full[turned])


@every_kind
def test_the_number_of_threads_changes_no_bit(
    kernels: Library, dtype: torch.dtype, int8: bool, three_threads: None
) -> None:
    for n, k, bias in SHAPES:
        linear, x, _ = layer(kernels, n, k, dtype, bias, int8)
        counts = (1, 7, 70, 600)
        several = [linear(x[:count]) for count in counts]
        torch.set_num_threads(1)
        assert all(torch.equal(linear(x[:count]), found) for count, found in zip(counts, several))
        torch.set_num_threads(3)


@every_kind
def test_values_that_are_not_numbers_stay_in_their_row(kernels: Library, dtype: torch.dtype, int8: bool) -> None:
    linear, x, _ = layer(kernels, 128, 65, dtype, False, int8)
    clean = linear(x[:20])
    x[3, 64], x[7, 0] = torch.nan, torch.inf
    got = linear(x[:20])
    assert got[3].isnan().all()
    assert not got[7].isfinite().any()
    others = [i for i in range(20) if i not in (3, 7)]
    assert torch.equal(got[others], clean[others])


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_code_of_eight_bits_is_read_as_it_was_written(kernels: Library, dtype: torch.dtype) -> None:
    noise = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.randperm(255, generator=noise) - 127 for _ in range(130)])
    weight = (codes * 2.0 ** torch.arange(-65, 65).unsqueeze(1)).to(dtype)  # exact in both formats
    linear = NativeLinear(kernels, weight, None, Memory(kernels), int8=True)
    for count in (1, 6, 7, 255):  # decoded in registers, and kept for rows to come
        assert torch.equal(linear(torch.eye(255, dtype=dtype)[:count], wide=True), weight.float().t()[:count])


def test_outputs_without_weights_or_with_bad_ones_disturb_no_others(kernels: Library) -> None:
    for dtype in DTYPES:
        weight = torch.ones(70, 33, dtype=dtype)
        weight[3], weight[5, 1], weight[68, 2] = 0.0, torch.nan, torch.inf
        found = NativeLinear(kernels, weight, None, Memory(kernels), int8=True)(torch.ones(9, 33, dtype=dtype))
        assert found[:, [5, 68]].isnan().all()
        assert found[:, 3].eq(0.0).all()
        assert found[:, [i for i in range(70) if i not in (3, 5, 68)]].sub(33.0).abs().max() < 1e-4


def test_eight_bits_take_a_byte_per_weight(kernels: Library) -> None:
    for dtype, full in ((torch.float32, 4), (torch.bfloat16, 2)):
        weight = torch.ones(128, 64, dtype=dtype)
        for int8, each in ((False, full), (True, 1)):
            packed = NativeLinear(kernels, weight, None, Memory(kernels), int8).packed
            assert packed.panels.nbytes == each * weight.numel()
            assert (packed.scales is not None) == int8


def test_no_rows(kernels: Library) -> None:
    linear, x, _ = layer(kernels, 128, 64, torch.float32, True)
    assert linear(x[:0]).shape == (0, 128)


def test_an_input_that_does_not_fit_is_refused(kernels: Library) -> None:
    linear, x, _ = layer(kernels, 128, 64, torch.bfloat16, False)
    for wrong in (x.float(), x[:, :63], x[0]):
        with pytest.raises(ValueError, match=r"this layer takes torch\.bfloat16 \[rows, 64\]"):
            linear(wrong)
