"""Routing and products of experts against their twins, and rows alone against the same rows among others."""

import pytest
import torch

from lampc.backend.int8 import encode
from lampc.backend.kernels.experts import GroupedExperts
from lampc.backend.kernels.grouped import Groups, Weights, add_chosen, add_chosen_torch, grouped, grouped_torch
from lampc.backend.kernels.routing import route, route_torch, sort_pairs, sort_pairs_torch
from lampc.backend.models.experts import Experts, ExpertWeights, Mixture, MlpWeights
from lampc.backend.models.layers import Linear, Mlp
from lampc.backend.models.rows import Rows

TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize(("rows", "count", "chosen"), [(1, 8, 2), (37, 12, 3), (5, 128, 8), (3, 4, 4)])
def test_routes_equal_their_twin(rows: int, count: int, chosen: int, normalised: bool, device: torch.device) -> None:
    logits, mixture = noise(rows, count).to(device), Mixture(count, chosen, 16, normalised)
    experts, weights = route(logits, mixture)
    right, shares = route_torch(logits, mixture)
    assert torch.equal(experts.long(), right)
    torch.testing.assert_close(weights, shares, atol=1e-6, rtol=1e-6)


def test_of_equal_experts_the_first_and_no_number_is_chosen_twice(device: torch.device) -> None:
    logits = torch.zeros(3, 6, device=device)
    logits[1, 2] = torch.nan
    logits[2] = torch.nan
    experts, _ = route(logits, Mixture(6, 3, 16, True))
    assert experts.tolist() == [[0, 1, 2], [0, 1, 3], [0, 1, 2]]


@pytest.mark.parametrize(("rows", "count", "chosen"), [(1, 8, 2), (37, 12, 3), (700, 5, 2)])
def test_pairs_are_sorted_like_their_twin(rows: int, count: int, chosen: int, device: torch.device) -> None:
    experts = noise(rows, count).argsort(1)[:, :chosen].int().contiguous().to(device)
    for found, right in zip(sort_pairs(experts, count), sort_pairs_torch(experts, count), strict=True):
        assert torch.equal(found, right)
    empty, starts = sort_pairs(experts[:0], count)
    assert (len(empty), starts.tolist()) == (0, [0] * (count + 1))


@pytest.mark.parametrize(
    ("rows", "count", "chosen", "n", "k", "dtype", "int8", "exact"),
    [
        (1, 4, 2, 64, 64, torch.float32, False, True),
        (1, 4, 2, 64, 64, torch.float16, True, False),
        (40, 3, 2, 40, 72, torch.float32, True, True),  # outputs, and values along K, that fill no tile
        (40, 3, 2, 40, 72, torch.float16, False, False),
        (9, 12, 3, 96, 24, torch.float16, False, True),  # experts that nobody has chosen
    ],
)
def test_products_equal_their_twin(
    rows: int,
    count: int,
    chosen: int,
    n: int,
    k: int,
    dtype: torch.dtype,
    int8: bool,
    exact: bool,
    device: torch.device,
) -> None:
    logits = noise(rows, count).to(device)
    experts, shares = route(logits, Mixture(count, chosen, 16, True))
    groups = Groups(*sort_pairs(experts, count), chosen)
    drawn = noise(count, n, k, seed=1) / k**0.5
    codes, scales = (x.to(device) for x in encode(drawn))
    weights = Weights(codes, scales) if int8 else Weights(drawn.to(dtype).to(device))
    x = noise(rows, k, seed=2).to(dtype).to(device)
    close = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    torch.testing.assert_close(grouped(x, weights, groups, exact), grouped_torch(x, weights, groups), **close)
    by_pair = noise(rows * chosen, k, seed=3).to(dtype).to(device)
    flat = shares.view(-1)
    parts = grouped(by_pair, weights, groups, exact, flat)
    torch.testing.assert_close(parts, grouped_torch(by_pair, weights, groups, flat), **close)
    torch.testing.assert_close(add_chosen(parts, chosen, dtype), add_chosen_torch(parts, chosen, dtype), **close)


def weights() -> ExpertWeights:
    drawn = [
        MlpWeights((noise(2 * 48, 32, seed=2 * i) / 6, None), (noise(32, 48, seed=2 * i + 1) / 7, None))
        for i in range(7)
    ]
    return ExpertWeights(Mixture(7, 2, 48, True), noise(7, 32, seed=99), drawn)


@pytest.mark.parametrize("int8", [False, True])
def test_a_layer_is_that_of_torch_and_its_rows_stand_alone(int8: bool, device: torch.device) -> None:
    if device.type != "cpu":
        pytest.skip("weights are made on the CPU")
    w, rows = weights(), Rows(exact=True, int8=int8, triton=True)
    feed = GroupedExperts(w, rows)
    plain = Rows(exact=False, int8=int8)
    mlps = [Mlp(Linear(*one.gate_up, plain), Linear(*one.down, plain)) for one in w.experts]
    twin = Experts(w.mixture, Linear(w.router, None, plain, rounded=False), mlps)
    x = noise(45, 32, seed=7)
    whole = feed(x)
    torch.testing.assert_close(whole, twin(x), atol=1e-5, rtol=1e-5)
    for some in ([0], [44, 3], range(10, 43), [5, 5, 5]):
        assert torch.equal(feed(x[list(some)]), whole[list(some)])
    assert feed(x[:0]).shape == (0, 32)


def test_what_does_not_fit_is_refused(device: torch.device) -> None:
    groups = Groups(*sort_pairs(torch.zeros(2, 1, dtype=torch.int32, device=device), 3), 1)
    with pytest.raises(ValueError, match="x is"):
        grouped(torch.zeros(2, 8, device=device), Weights(torch.zeros(3, 4, 16, device=device)), groups, True)
    with pytest.raises(ValueError, match="starts is"):
        grouped(torch.zeros(2, 16, device=device), Weights(torch.zeros(4, 4, 16, device=device)), groups, True)
    with pytest.raises(ValueError, match="experts"):
        sort_pairs(torch.zeros(2, 1, device=device), 3)
