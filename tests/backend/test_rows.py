"""Rows of linear layers: the same bits however many stand together, with packed weights and with plain ones."""

import pytest
import torch

from lampc.backend.models import packing, rows
from lampc.backend.models.rows import Rows
from lampc.backend.native.shared_library import Library

COUNTS = (1, 2, 3, 5, 8, 15, 16, 17, 23, 32, 33, 64, 100, 513)
SHAPES = [(128, 64, True), (192, 896, False), (50, 36, True), (64, 4864, False)]


def layer(n: int, k: int, dtype: torch.dtype, bias: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    noise = torch.Generator().manual_seed(n * k)
    weight = (torch.randn(n, k, generator=noise) / k**0.5).to(dtype)
    return weight, torch.randn(n, generator=noise).to(dtype) if bias else None


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "k", "bias"), SHAPES)
def test_a_row_does_not_depend_on_its_neighbours(n: int, k: int, bias: bool, dtype: torch.dtype, packed: bool) -> None:
    scheme = Rows(exact=True, packed=packed)
    plain, offset = layer(n, k, dtype, bias)
    weight = scheme.pack(plain)
    x = torch.randn(max(COUNTS), k, generator=torch.Generator().manual_seed(1)).to(dtype)
    alone = torch.cat([scheme.linear(row, weight, offset) for row in x[:40].split(1)])
    for count in COUNTS:
        assert torch.equal(scheme.linear(x[:count], weight, offset)[:40], alone[:count])
        turned = scheme.linear(x[:count].flip(0), weight, offset).flip(0)
        assert torch.equal(turned[:40], alone[:count])
    exact = torch.nn.functional.linear(x.double(), plain.double(), None if offset is None else offset.double())
    close = 1e-5 if dtype is torch.float32 else 2e-2
    assert torch.allclose(scheme.linear(x, weight, offset).double(), exact, rtol=close, atol=close)


def test_what_differs_in_one_value_of_thousands_is_not_trusted() -> None:
    """In bfloat16 a single row may go another way through oneDNN, which a few values do not show."""
    scheme = Rows(exact=True)
    weight = scheme.pack(layer(256, 4096, torch.bfloat16, False)[0])
    x = torch.randn(256, 4096, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    tiles = torch.cat([scheme.linear(part, weight) for part in x.split(16)])
    for count in (1, 2, 4, 8):
        assert torch.equal(torch.cat([scheme.linear(part, weight) for part in x.split(count)]), tiles)


def test_where_calls_differ_tiles_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a library whose bits depend on the number of rows, as they do for some, all is still exact."""

    def fickle(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return torch.nn.functional.linear(x, weight, bias) + len(x) / 1000

    monkeypatch.setattr(rows, "product", fickle)
    scheme = Rows(exact=True, packed=False)
    weight, _ = layer(64, 64, torch.float32, False)
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([scheme.linear(row, weight) for row in x.split(1)])
    for count in (2, 7, 16, 21, 50):
        assert torch.equal(scheme.linear(x[:count], weight), alone[:count])
    assert not torch.equal(Rows(exact=False).linear(x, weight)[:1], alone[:1])


@pytest.mark.skipif(not packing.supported("cpu", torch.float32), reason="torch without oneDNN")
def test_weights_are_packed_where_torch_can() -> None:
    weight = layer(128, 64, torch.float32, False)[0]
    assert Rows(exact=True).pack(weight).is_mkldnn
    assert not Rows(exact=True, packed=False).pack(weight).is_mkldnn
    assert not Rows(exact=True).pack(weight.double()).is_mkldnn
    assert not packing.supported("cuda", torch.float32)


def test_few_different_numbers_of_rows_are_run() -> None:
    assert [Rows(exact=True).padded(n) for n in (1, 5, 16, 17, 64, 65, 80)] == [1, 5, 16, 20, 64, 80, 80]
    assert Rows(exact=False).padded(17) == 17


def test_native_layers_need_no_padding_and_no_trials(kernels: Library) -> None:
    scheme = Rows(exact=True, native=kernels)
    weight, bias = layer(128, 64, torch.float32, True)
    product = scheme.layer(weight, bias)
    assert [scheme.padded(n) for n in (1, 5, 17, 65)] == [1, 5, 17, 65]
    x = torch.randn(65, 64, generator=torch.Generator().manual_seed(1))
    assert all(torch.equal(product(x[:n]), product(x)[:n]) for n in (1, 5, 17))
