"""Linear layers of which each rank computes a part, shard by shard.

How a library rounds may depend on the shape of a product. The shards' shapes are the same for any number of ranks, so
the products are, too. Native kernels compute every output by itself, so that their outputs need not be kept apart.
"""

from collections.abc import Callable, Sequence

import torch

from lampc.backend.models.rows import Rows
from lampc.backend.native.linear import NativeLinear, Packed
from lampc.backend.parallel.group import Later
from lampc.backend.parallel.shards import Part, tree

Piece = tuple[torch.Tensor, torch.Tensor | None]
"""Weight [N, K] and bias [N] of a shard."""

Sum = Callable[[torch.Tensor], Later]
"""Begins to sum x [...] over all ranks."""


class Column:
    """x [M, K] to this rank's outputs [M, N / ranks], the pieces side by side."""

    def __init__(self, pieces: Sequence[Piece], rows: Rows) -> None:
        if rows.native is not None or not rows.exact:
            biases = [bias for _, bias in pieces if bias is not None]
            pieces = [(torch.cat([weight for weight, _ in pieces]), torch.cat(biases) if biases else None)]
        self._parts = [rows.layer(weight, bias) for weight, bias in pieces]

    @property
    def packed(self) -> Packed:
        """As native kernels take it; there must be some."""
        (part,) = self._parts
        assert isinstance(part, NativeLinear)
        return part.packed

    def __call__(self, x: torch.Tensor, wide: bool = False) -> torch.Tensor:
        """In x's dtype, or float32 if `wide`."""
        found = [_wide(part, x) if wide else part(x) for part in self._parts]
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)


class Row:
    """x [M, K / ranks], this rank's inputs, to [M, N] of all inputs on every rank.

    The shards' products are summed in float32, in the order of `tree`. Where torch multiplies in less than float32 it
    has rounded each of them before; native kernels have not.
    """

    def __init__(
        self, weight: torch.Tensor, pieces: Sequence[Part], bias: torch.Tensor | None, rows: Rows, add: Sum
    ) -> None:
        start = pieces[0][0]
        cuts = pieces if rows.exact else [(start, pieces[-1][1])]
        self._cuts = [(a - start, b - start) for a, b in cuts]
        self._parts = [rows.layer(weight[:, a:b].contiguous(), None) for a, b in self._cuts]
        self._bias = None if bias is None else bias.float()
        self._add = add

    def start(self, x: torch.Tensor, wide: bool = False) -> Later:
        """Multiplies, and begins to sum over ranks; the sum is in x's dtype, or float32 if `wide`."""
        products = [_wide(part, x[:, a:b].contiguous()) for part, (a, b) in zip(self._parts, self._cuts, strict=True)]
        summed = self._add(tree(products))

        def finish() -> torch.Tensor:
            total = summed()
            if self._bias is not None:
                total = total + self._bias
            return total if wide else total.to(x.dtype)

        return finish


def _wide(part: object, x: torch.Tensor) -> torch.Tensor:
    if isinstance(part, NativeLinear):
        return part(x, wide=True)
    assert callable(part)
    found: torch.Tensor = part(x)
    return found.float()
