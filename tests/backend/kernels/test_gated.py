"""Gated activations against their twins."""

from typing import get_args

import pytest
import torch

from lampc.backend.kernels.gated import Activation, gated, gated_torch
from lampc.backend.models.layers import gated_silu

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("rows", "inner"), [(1, 64), (3, 1100)])
@pytest.mark.parametrize("kind", get_args(Activation))
def test_equals_its_twin(kind: Activation, rows: int, inner: int, dtype: torch.dtype, device: torch.device) -> None:
    noise = torch.Generator().manual_seed(inner)
    gate_up = (4 * torch.randn(rows, 2 * inner, generator=noise)).to(dtype).to(device)
    want = gated_torch(gate_up, kind)
    torch.testing.assert_close(gated(gate_up, kind), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_large_values_saturate(device: torch.device) -> None:
    gate_up = torch.tensor([[200.0, -200.0, 0.0, 1.0, 1.0, 1.0]], device=device)
    for kind in get_args(Activation):
        assert gated(gate_up, kind).tolist() == [[200.0, 0.0, 0.0]]


def test_silu_is_that_of_the_models(device: torch.device) -> None:
    gate_up = torch.randn(3, 128, device=device)
    torch.testing.assert_close(gated(gate_up, "silu"), gated_silu(gate_up))


def test_wrong_shapes_are_refused(device: torch.device) -> None:
    with pytest.raises(ValueError, match="equally wide"):
        gated(torch.zeros(2, 7, device=device), "silu")
    assert gated(torch.zeros(0, 8, device=device), "silu").shape == (0, 4)
