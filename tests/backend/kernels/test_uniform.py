"""Uniform numbers on the device are those of the CPU, bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.backend.kernels.uniform import key_tensor, uniforms, uniforms_torch
from lampc.backend.random_keys import uniform

KEYS = [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 0x9E3779B97F4A7C15, 12345678901234567890]
INDICES = [0, 1, 2, 1000, (1 << 31) - 1, 1 << 31, 1 << 40]


def test_numbers_are_equal(device: torch.device) -> None:
    pairs = [(key, index) for key in KEYS for index in INDICES] * 3  # more than one program
    keys = key_tensor([key for key, _ in pairs]).to(device)
    indices = torch.tensor([index for _, index in pairs], device=device)
    want = [uniform(key, index) for key, index in pairs]
    assert uniforms(keys, indices).tolist() == want
    assert uniforms_torch(keys, indices).tolist() == want


@settings(max_examples=200, deadline=None)
@given(key=st.integers(0, (1 << 64) - 1), index=st.integers(0, 1 << 40))
def test_the_twin_has_the_bits_of_any_number(key: int, index: int) -> None:
    assert uniforms_torch(key_tensor([key]), torch.tensor([index])).item() == uniform(key, index)


def test_other_types_are_refused(device: torch.device) -> None:
    keys = torch.zeros(2, dtype=torch.int64, device=device)
    with pytest.raises(ValueError, match="indices is"):
        uniforms(keys, keys[:1])
    with pytest.raises(ValueError, match="int32"):
        uniforms(keys.int(), keys)
    assert uniforms(keys[:0], keys[:0]).shape == (0,)
