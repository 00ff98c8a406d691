"""Linear layers whose rows do not depend on how many rows there are.

GEMM libraries pick kernels by shape, so a row's last bits can change with the number of rows beside it; at a
fixed number of rows they do not. Exact mode therefore works in multiples of `TILE` rows, and lets a larger
call through only after it was seen to give, for its very shape, the bits that tiles of `TILE` rows give.
"""

import torch
from torch.nn import functional

TILE = 16
"""Rows of the smallest call in exact mode."""
_LARGEST = 512


class Rows:
    """The row scheme of one engine. `exact` False makes everything plain torch calls."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self._verdicts: dict[tuple[int, ...], bool] = {}

    def padded(self, count: int) -> int:
        """The number of rows to run `count` rows with."""
        return -(-count // TILE) * TILE if self.exact else count

    def linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """x [M, K] times weight [N, K] transposed, plus bias [N]; M a multiple of TILE in exact mode."""
        if not self.exact:
            return functional.linear(x, weight, bias)
        if x.shape[0] <= _LARGEST:
            return self._piece(x, weight, bias)
        parts = [self._piece(part, weight, bias) for part in torch.split(x, _LARGEST)]
        return torch.cat(parts)

    def _piece(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        rows = x.shape[0]
        if rows == TILE or self._same_bits(rows, weight, bias):
            return functional.linear(x, weight, bias)
        return _tiled(x, weight, bias)

    def _same_bits(self, rows: int, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
        key = (rows, *weight.shape, bias is not None, torch.get_num_threads())
        verdict = self._verdicts.get(key)
        if verdict is None:
            noise = torch.Generator().manual_seed(rows)
            x = torch.randn(rows, weight.shape[1], generator=noise).to(weight)
            order = torch.randperm(rows, generator=noise).to(weight.device)
            whole = functional.linear(x, weight, bias)
            verdict = torch.equal(whole, _tiled(x, weight, bias)) and torch.equal(
                whole[order], functional.linear(x[order], weight, bias)
            )
            self._verdicts[key] = verdict
        return verdict


def _tiled(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.cat([functional.linear(part, weight, bias) for part in torch.split(x, TILE)])
