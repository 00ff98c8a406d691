"""Causal attention over sequences that stand side by side, with gradients: what training lends to models."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from lampc.backend.models.layers import Attend
from lampc.backend.scores import Scores


def attention_over(lengths: Sequence[int], windows: Sequence[int | None], scores: Scores) -> Attend:
    """Attention of rows [sum(lengths)], sequence after sequence; none sees another. `windows` as models say them."""

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        parts = zip(*(torch.split(x, list(lengths)) for x in (q, k, v)), strict=True)
        return torch.cat([_causal(a, b, c, windows[layer], scores) for a, b, c in parts])

    return attend


def _causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None, scores: Scores) -> torch.Tensor:
    """q [T, heads, D], k and v [T, kv_heads, D] of one sequence -> [T, heads, D]."""
    length, heads, _ = q.shape
    fold = heads // k.shape[1]
    q, k, v = (x.transpose(0, 1) for x in (q, k.repeat_interleave(fold, 1), v.repeat_interleave(fold, 1)))
    scale = scores.divisor**-0.5
    hidden = None
    if window is not None and window < length:
        at = torch.arange(length, device=q.device)
        gap = at.unsqueeze(1) - at
        hidden = (gap < 0) | (gap >= window)
    if scores.cap is None:
        mask = None if hidden is None else ~hidden
        mixed = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, scale=scale)
        return mixed.transpose(0, 1)
    if hidden is None:
        hidden = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    products = torch.tanh(q @ k.transpose(1, 2) * (scale / scores.cap)) * scores.cap
    return (products.masked_fill(hidden, -torch.inf).softmax(-1) @ v).transpose(0, 1)
