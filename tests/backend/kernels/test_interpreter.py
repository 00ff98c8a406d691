"""Products of the interpreter: the bits of a row do not hang on its place, as on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from lampc.backend.kernels.interpreter import row_by_row
from lampc.backend.kernels.paged import interpreted


@triton.jit
def multiply(x, w, out, M: tl.constexpr, K: tl.constexpr, N: tl.constexpr):  # type: ignore[no-untyped-def]
    m, k, n = tl.arange(0, M), tl.arange(0, K), tl.arange(0, N)
    tile = tl.load(x + m[:, None] * K + k[None, :])
    weight = tl.load(w + k[:, None] * N + n[None, :])
    tl.store(out + m[:, None] * N + n[None, :], tl.dot(tile, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("rows", "inner", "columns"), [(16, 64, 32), (16, 128, 64), (64, 16, 128)])
def test_rows_of_a_product_stand_alone(
    device: torch.device, rows: int, inner: int, columns: int, dtype: torch.dtype
) -> None:
    rng = torch.Generator().manual_seed(rows * inner)
    x = torch.randn(rows, inner, generator=rng).to(device, dtype)
    w = torch.randn(inner, columns, generator=rng).to(device, dtype)

    def product(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty(rows, columns, device=device)
        multiply[(1,)](x, w, out, rows, inner, columns)
        return out

    whole = product(x)
    torch.testing.assert_close(whole, x.float() @ w.float(), rtol=1e-2, atol=1e-2 if dtype == torch.float16 else 2e-2)
    for _ in range(20):
        order = torch.randperm(rows, generator=rng)
        few = int(torch.randint(1, rows, (), generator=rng))
        some = torch.zeros_like(x)
        some[:few] = x[order[:few]]
        assert torch.equal(product(x[order]), whole[order])
        assert torch.equal(product(some)[:few], whole[order[:few]])


@pytest.mark.skipif(not interpreted(), reason="a GPU multiplies by itself")
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_products_are_those_of_numpy(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(shape))
    a, b = rng.integers(-9, 9, (*shape, 16, 32)), rng.integers(-9, 9, (*shape, 32, 16))
    for dtype in (np.int32, np.float32, np.float64):
        assert (row_by_row(a.astype(dtype), b.astype(dtype)) == np.matmul(a, b)).all()
