"""Exact products against their twin, and rows alone against the same rows among others."""

import pytest
import torch

from lampc.backend.kernels import linear as module
from lampc.backend.kernels.linear import TILES, ExactLinear, Tile, agreeing, chosen, linear, linear_torch, product_of
from lampc.backend.models.layers import Linear
from lampc.backend.models.rows import Rows

CLOSE = {"atol": 4e-3, "rtol": 4e-3}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tile", TILES, ids=lambda t: f"{t.rows}x{t.outputs}")
@pytest.mark.parametrize(("rows", "n", "k"), [(1, 48, 128), (67, 40, 72), (130, 136, 64)])
def test_equals_its_twin(rows: int, n: int, k: int, tile: Tile, device: torch.device) -> None:
    x, weight = noise(rows, k).half().to(device), (noise(n, k, seed=1) / k**0.5).half().to(device)
    bias = noise(n, seed=2).half().to(device) if rows > 1 else None
    torch.testing.assert_close(linear(x, weight, bias, tile), linear_torch(x, weight, bias), **CLOSE)


def test_bands_of_rows_cover_them_all(device: torch.device) -> None:
    """More of them than are computed side by side, and a last few."""
    x, weight = noise(64 * 18 + 5, 16).half().to(device), noise(70, 16, seed=1).half().to(device)
    torch.testing.assert_close(linear(x, weight, None, TILES[0]), linear_torch(x, weight, None), **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_row_is_the_same_alone_and_among_others(dtype: torch.dtype, device: torch.device) -> None:
    x, weight = noise(150, 192).to(dtype).to(device), noise(144, 192, seed=1).to(dtype).to(device)
    product = ExactLinear(weight, noise(144, seed=2).to(dtype).to(device))
    whole = product(x)
    for some in (slice(0, 1), slice(7, 10), slice(60, 130), slice(149, 150)):
        assert torch.equal(product(x[some]), whole[some])


def test_tiles_that_are_used_agree(device: torch.device) -> None:
    x, weight = noise(100, 320).half().to(device), noise(130, 320, seed=1).half().to(device)
    found = [linear(x, weight, None, tile) for tile in agreeing(device, torch.float16)]
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.parametrize("whole", [True, False])
def test_a_tile_that_differs_is_not_used(whole: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds_elsewhere(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, tile: Tile) -> torch.Tensor:
        assert (x.shape[1] % 64 == 0) == whole
        found = linear_torch(x, weight, bias)
        if tile == TILES[2]:
            found[-1, -1] += 1
        return found

    monkeypatch.setattr(module, "linear", rounds_elsewhere)
    assert agreeing.__wrapped__(device, torch.float16, whole) == (*TILES[:2], *TILES[3:])


def test_what_is_given_apart_or_unaligned_is_computed_all_the_same(device: torch.device) -> None:
    weight, bias = noise(24 * 64 + 1).half().to(device)[1:].view(24, 64), noise(25).half().to(device)[1:]
    x = noise(64, 5).half().to(device).t()
    torch.testing.assert_close(ExactLinear(weight, bias)(x), linear_torch(x, weight, bias), **CLOSE)


def test_few_rows_take_few_outputs_each_and_many_rows_large_tiles() -> None:
    assert [chosen(rows, 4096, TILES).outputs for rows in (1, 64, 128, 2048)] == [32, 32, 64, 128]
    assert chosen(1, 1024, TILES) == TILES[1]
    assert chosen(1, 128256, TILES).rows == 64
    assert chosen(4096, 128256, TILES[:1]) == TILES[0]


def test_rows_in_four_bytes_stay_with_torch() -> None:
    weight = noise(8, 16)
    assert isinstance(product_of(weight, None, Rows(True, triton=True)), Linear)
    assert isinstance(product_of(weight.half(), None, Rows(False, triton=True)), Linear)
    assert isinstance(product_of(weight.half(), None, Rows(True, triton=True)), ExactLinear)


def test_what_does_not_fit_is_refused(device: torch.device) -> None:
    x, weight = noise(2, 16).half().to(device), noise(8, 16).half().to(device)
    with pytest.raises(ValueError, match="weight is"):
        linear(x[:, :8], weight, None, TILES[0])
    with pytest.raises(ValueError, match="not contiguous"):
        linear(x.t()[:2], weight[:, :2].contiguous(), None, TILES[0])
    with pytest.raises(ValueError, match="bias is"):
        linear(x, weight, weight[0], TILES[0])
    with pytest.raises(ValueError, match=r"float32; torch\.float16 is wanted"):
        linear(x, weight.float(), None, TILES[0])
    with pytest.raises(ValueError, match="rows by values"):
        linear(x[0], weight, None, TILES[0])
    assert linear(x[:0], weight, None, TILES[0]).shape == (0, 8)
