"""Copies of runs of slots against their twins, and a way out of the cache and back."""

import pytest
import torch

from lampc.backend.kernels.copy_slots import (
    copy_slots,
    copy_slots_torch,
    gather_slots,
    gather_slots_torch,
    scatter_slots,
    scatter_slots_torch,
)


def filled(dtype: torch.dtype, dim: int | None, slots: int, device: torch.device) -> torch.Tensor:
    """A cache of two layers and three K/V heads (scales if `dim` is None) in which every value is another."""
    shape = (2, 2, 3, slots + 2) if dim is None else (2, 2, 3, slots + 2, dim)
    noise = torch.Generator().manual_seed(1)
    return torch.randint(-128, 128, shape, generator=noise).to(dtype).to(device)


KINDS = [(torch.float32, 64), (torch.float16, 128), (torch.bfloat16, 64), (torch.int8, 256), (torch.float32, None)]


@pytest.mark.parametrize(("dtype", "dim"), KINDS)
@pytest.mark.parametrize("block", [16, 64])
def test_copy_on_write_equals_its_twin(dtype: torch.dtype, dim: int | None, block: int, device: torch.device) -> None:
    cache = filled(dtype, dim, 6 * block, device)
    source = torch.tensor([0, block, 2 * block + 3], device=device)
    target = torch.tensor([4 * block, 3 * block, 5 * block + 3], device=device)
    counts = torch.tensor([block, 0, 5], device=device)  # whole, empty, the middle of a block
    twin, before = cache.clone(), cache.clone()
    copy_slots(cache, source, target, counts, block)
    copy_slots_torch(twin, source, target, counts, block)
    assert torch.equal(cache, twin)
    assert torch.equal(cache[:, :, :, 4 * block : 5 * block], before[:, :, :, :block])
    assert torch.equal(cache[:, :, :, : 4 * block], before[:, :, :, : 4 * block])


@pytest.mark.parametrize(("dtype", "dim"), KINDS)
def test_what_was_swapped_out_comes_back(dtype: torch.dtype, dim: int | None, device: torch.device) -> None:
    cache = filled(dtype, dim, 80, device)
    source = torch.tensor([16, 64, 0], device=device)
    counts = torch.tensor([16, 3, 0], device=device)
    kept = cache.new_zeros((3, *cache.shape[:3], 16, *cache.shape[4:]))
    twin = kept.clone()
    gather_slots(cache, source, counts, kept)
    gather_slots_torch(cache, source, counts, twin)
    assert torch.equal(kept, twin)
    assert not kept[1, :, :, :, 3:].any()

    target = torch.tensor([32, 1, 5], device=device)
    back, back_twin = torch.zeros_like(cache), torch.zeros_like(cache)
    scatter_slots(back, target, counts, kept)
    scatter_slots_torch(back_twin, target, counts, kept)
    assert torch.equal(back, back_twin)
    assert torch.equal(back[:, :, :, 32:48], cache[:, :, :, 16:32])
    assert torch.equal(back[:, :, :, 1:4], cache[:, :, :, 64:67])


@pytest.mark.parametrize(("dtype", "dim"), KINDS)
def test_runs_make_up_blocks(dtype: torch.dtype, dim: int | None, device: torch.device) -> None:
    """A block of which two runs are in two places; one that is taken from its middle; blocks that are left alone."""
    cache = filled(dtype, dim, 80, device)
    slots = torch.tensor([70, 16, 33], device=device)
    counts = torch.tensor([5, 11, 9], device=device)
    places = torch.tensor([2 * 16, 2 * 16 + 5, 16 + 7], device=device)
    kept = cache.new_zeros((4, *cache.shape[:3], 16, *cache.shape[4:]))
    twin = kept.clone()
    gather_slots(cache, slots, counts, kept, places)
    gather_slots_torch(cache, slots, counts, twin, places)
    assert torch.equal(kept, twin)
    assert torch.equal(kept[2], torch.cat([cache[:, :, :, 70:75], cache[:, :, :, 16:27]], 3))
    assert not kept[0].any()
    assert not kept[1, :, :, :, :7].any()

    back, back_twin = torch.zeros_like(cache), torch.zeros_like(cache)
    scatter_slots(back, slots, counts, kept, places)
    scatter_slots_torch(back_twin, slots, counts, kept, places)
    assert torch.equal(back, back_twin)
    assert torch.equal(back[:, :, :, 33:42], cache[:, :, :, 33:42])


def test_what_does_not_fit_is_refused(device: torch.device) -> None:
    cache = filled(torch.float16, 64, 32, device)
    one = torch.tensor([1], device=device)
    with pytest.raises(ValueError, match="whole words"):
        copy_slots(filled(torch.int8, 6, 32, device), one, one, one, 1)
    with pytest.raises(ValueError, match="swapped part is"):
        gather_slots(cache, one, one, cache.new_zeros(1, 2, 2, 3, 16, 32))
    with pytest.raises(ValueError, match="int32"):
        copy_slots(cache, one.int(), one, one, 1)
    before = cache.clone()
    copy_slots(cache, one[:0], one[:0], one[:0], 16)
    assert torch.equal(cache, before)
