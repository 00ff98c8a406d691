"""Experts: who goes where as transformers says it, and a row's bits whoever shares its experts."""

from typing import Any

import pytest
import torch

from lampc.backend.models.experts import Experts, Mixture, route
from lampc.backend.models.layers import Linear, Mlp
from lampc.backend.models.rows import Rows
from lampc.backend.native.shared_library import Library

NOISE = torch.Generator().manual_seed(0)
MIXTURE = Mixture(count=12, chosen=3, intermediate=24, normalised=False)


def router(kind: str, normalised: bool) -> Any:
    """That of transformers, with random weights."""
    from transformers import AutoConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

    config = AutoConfig.for_model(
        kind, hidden_size=32, num_local_experts=12, num_experts_per_tok=3, norm_topk_prob=normalised
    )
    made = (MixtralTopKRouter if kind == "mixtral" else Qwen3MoeTopKRouter)(config)
    made.weight.data.copy_(torch.randn(12, 32, generator=NOISE))
    return made


@pytest.mark.parametrize(("kind", "normalised"), [("mixtral", True), ("qwen3_moe", True), ("qwen3_moe", False)])
def test_routes_are_those_of_transformers(kind: str, normalised: bool) -> None:
    theirs = router(kind, normalised)
    with torch.inference_mode():
        logits, weights, experts = theirs(torch.randn(70, 32, generator=NOISE))
        mixture = Mixture(12, 3, 24, normalised)
        found, ours = route(logits, mixture)
    assert torch.equal(found, experts)
    torch.testing.assert_close(ours, weights, atol=1e-6, rtol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(route(logits[5:6], mixture), (found[5:6], ours[5:6])))


def layer(rows: Rows, calls: list[int]) -> Experts:
    drawn = torch.Generator().manual_seed(1)

    def linear(n: int, k: int) -> Linear:
        return Linear(torch.randn(n, k, generator=drawn) / k**0.5, None, rows)

    def counted(mlp: Mlp) -> Any:
        def call(x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return mlp(x)

        return call

    experts = [counted(Mlp(linear(48, 32), linear(32, 24))) for _ in range(12)]
    return Experts(MIXTURE, linear(12, 32), experts)


@pytest.mark.parametrize("how", ["torch", "native"])
def test_a_row_has_the_same_bits_however_many_share_its_experts(how: str, request: pytest.FixtureRequest) -> None:
    native: Library | None = request.getfixturevalue("kernels") if how == "native" else None
    calls: list[int] = []
    feed = layer(Rows(exact=True, native=native), calls)
    x = torch.randn(100, 32, generator=NOISE)
    whole = feed(x)
    assert len(calls) <= MIXTURE.count  # one call for all rows of an expert
    assert sum(calls) == 100 * MIXTURE.chosen
    for some in ([0], [1, 0], [7, 99, 3], range(17), range(40, 81), [5, 5, 5, 5]):
        assert torch.equal(feed(x[list(some)]), whole[list(some)])


def test_parts_add_up_to_the_whole() -> None:
    feed = layer(Rows(exact=True), [])
    x = torch.randn(9, 32, generator=NOISE)
    parts = feed.sums(x, [(0, 5), (5, 5), (5, 12)])
    assert not parts[1].any()
    torch.testing.assert_close(sum(parts), feed(x))
