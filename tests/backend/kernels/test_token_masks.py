"""Masks over logits against their twin."""

import pytest
import torch

from lampc.backend.kernels.token_masks import mask_logits, mask_logits_torch, pack_masks, unpack_masks


@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 2048, 5001])
def test_equals_its_twin(vocab: int, device: torch.device) -> None:
    noise = torch.Generator().manual_seed(vocab)
    allowed = torch.rand(3, vocab, generator=noise) < torch.tensor([[0.5], [0.0], [1.0]])
    masks = pack_masks(allowed).to(device)
    logits = torch.randn(6, vocab, generator=noise).to(device)
    index = torch.tensor([0, -1, 2, 1, 0, 0], dtype=torch.int32, device=device)
    twin, before = logits.clone(), logits.clone()
    mask_logits(logits, masks, index)
    mask_logits_torch(twin, masks, index)
    assert torch.equal(logits, twin)
    for row, mask in enumerate(index.tolist()):
        kept = torch.ones(vocab, dtype=torch.bool) if mask < 0 else allowed[mask]
        assert torch.equal(logits[row, kept], before[row, kept])
        assert logits[row, ~kept].isneginf().all()


def test_bits_are_where_grammar_engines_put_them(device: torch.device) -> None:
    allowed = torch.zeros(1, 70, dtype=torch.bool)
    allowed[0, [0, 31, 33, 69]] = True
    assert pack_masks(allowed).tolist() == [[1 - (1 << 31), 2, 1 << 5]]
    assert torch.equal(unpack_masks(pack_masks(allowed), 70), allowed)


def test_what_does_not_fit_is_refused(device: torch.device) -> None:
    logits, index = torch.zeros(2, 64, device=device), torch.zeros(2, dtype=torch.int32, device=device)
    with pytest.raises(ValueError, match="masks is"):
        mask_logits(logits, torch.zeros(1, 3, dtype=torch.int32, device=device), index)
    with pytest.raises(ValueError, match=r"logits is .*float16"):
        mask_logits(logits.half(), torch.zeros(1, 2, dtype=torch.int32, device=device), index)
