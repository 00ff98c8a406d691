"""Masks of allowed tokens, a bit per token, laid over logits.

Bit i % 32 of word i // 32 says whether token i is allowed: the form in which grammar engines hand masks out. Floor, n
rows of V tokens: n V / 8 bytes of masks read and 4 bytes written per forbidden token; logits are not read.
"""

import torch
import triton
import triton.language as tl

from lampc.backend.kernels.checks import check_rows, check_same, check_shape

_BLOCK = 2048


@triton.jit
def mask_logits_kernel(
    logits: tl.tensor, masks: tl.tensor, index: tl.tensor, vocab: tl.tensor, words: tl.tensor, block: tl.constexpr
) -> None:
    row = tl.program_id(0).to(tl.int64)
    mask = tl.load(index + row).to(tl.int64)
    if mask >= 0:
        at = tl.program_id(1) * block + tl.arange(0, block)
        inside = at < vocab
        word = tl.load(masks + mask * words + at // 32, mask=inside, other=-1)
        forbidden = ((word >> (at % 32)) & 1) == 0
        tl.store(logits + row * vocab + at, float("-inf"), mask=inside & forbidden)


def mask_logits(logits: torch.Tensor, masks: torch.Tensor, index: torch.Tensor) -> None:
    """Sets logits [n, V], float32, of forbidden tokens to -inf.

    masks [G, ceil(V / 32)] and index [n], both int32: row i is under masks[index[i]], or under none if that is below
    0. Raises ValueError.
    """
    _check(logits, masks, index)
    rows, vocab = logits.shape
    if rows:
        grid = (rows, triton.cdiv(vocab, _BLOCK))
        mask_logits_kernel[grid](logits, masks, index, vocab, masks.shape[1], _BLOCK, num_warps=4)


def mask_logits_torch(logits: torch.Tensor, masks: torch.Tensor, index: torch.Tensor) -> None:
    """The twin of `mask_logits`."""
    _check(logits, masks, index)
    allowed = unpack_masks(masks, logits.shape[1])[index.clamp(min=0).long()]
    logits.masked_fill_(~allowed & (index >= 0).unsqueeze(1), -torch.inf)


def pack_masks(allowed: torch.Tensor) -> torch.Tensor:
    """Words [G, ceil(V / 32)], int32, for allowed [G, V], bool; bits past V are 0."""
    padded = torch.nn.functional.pad(allowed, (0, -allowed.shape[1] % 32))
    bits = torch.ones(32, dtype=torch.int64, device=allowed.device) << torch.arange(32, device=allowed.device)
    words = (padded.view(len(allowed), -1, 32) * bits).sum(-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def unpack_masks(masks: torch.Tensor, vocab: int) -> torch.Tensor:
    """What `pack_masks` packed, [G, vocab]."""
    bits = masks.unsqueeze(-1) >> torch.arange(32, device=masks.device, dtype=torch.int32)
    return (bits & 1).bool().view(len(masks), -1)[:, :vocab]


def _check(logits: torch.Tensor, masks: torch.Tensor, index: torch.Tensor) -> None:
    check_rows(logits=logits, masks=masks)
    check_same("logits", logits, torch.float32)
    check_same("masks", masks, torch.int32)
    check_same("index", index, torch.int32)
    check_shape("masks", masks, len(masks), -(-logits.shape[1] // 32))
    check_shape("index", index, len(logits))
