"""Values as whole numbers of eight bits with one scale per row: symmetric, the largest of a row becomes 127.

Rows are rounded by themselves, so nothing depends on neighbours. A row that is not finite gets the scale NaN.
"""

import torch

_PIECE = 1 << 20  # values that are widened at once


def encode(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole numbers [..., D], int8 in -127 .. 127, and their scales [...], float32, for values [..., D]."""
    if values.numel() <= _PIECE:
        return _encode(values)
    codes = torch.empty(values.shape, dtype=torch.int8, device=values.device)
    scales = torch.empty(values.shape[:-1], dtype=torch.float32, device=values.device)
    pieces = -(-values.numel() // _PIECE)
    for part, c, s in zip(values.chunk(pieces), codes.chunk(pieces), scales.chunk(pieces), strict=True):
        for target, found in zip((c, s), _encode(part), strict=True):
            target.copy_(found)
    return codes, scales


def _encode(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    wide = values.float()
    top = wide.abs().amax(-1, keepdim=True)
    scales = top / 127.0
    codes = (wide / scales.masked_fill(top == 0, 1.0)).round_()
    bad = ~top.isfinite()
    return codes.masked_fill_(bad, 0.0).to(torch.int8), scales.masked_fill_(bad, torch.nan).squeeze(-1)


def decode(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """What `encode` made of values, in float32."""
    return codes * scales.unsqueeze(-1)
