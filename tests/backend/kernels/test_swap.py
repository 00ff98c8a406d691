"""K/V to host memory and back by the kernel that copies slots: the calls that a GPU gets, here in order."""

from pathlib import Path

import pytest
import torch

from lampc.backend.kv_cache import KVCache
from lampc.backend.request import Request, Sampling
from lampc.backend.transfer import NoSide, StagedTransfer
from tests.backend.swaps import load, one_by_one
from tests.backend.test_swap import moved_by, noisy


def test_what_came_back_is_as_good_as_computed(tiny: Path, device: torch.device) -> None:
    engine = load(tiny, kv_tokens=32, backend="triton", kv_dtype="int8")
    assert isinstance(engine._runner._transfer, StagedTransfer)
    one = Request(tuple(range(17)), Sampling(max_tokens=2, ignore_eos=True), logprobs=True)
    other = Request(tuple(range(100, 130)), Sampling(max_tokens=1, ignore_eos=True))
    first, _, again = one_by_one(engine, [one, other, one])
    assert first == again
    assert engine.stats().swapped_in_tokens == 16


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_the_kernel_moves_as_plain_copies(int8: bool, rows: int, device: torch.device) -> None:
    def kernel(cache: KVCache) -> StagedTransfer:
        made = StagedTransfer(cache, 8, 4, NoSide(), triton=True)
        made._rows = rows
        return made

    moved, plain = moved_by(noisy(int8, device), kernel), moved_by(noisy(int8))
    assert torch.equal(moved.data.cpu(), plain.data)
    if int8:
        assert torch.equal(moved.scales.cpu(), plain.scales)
