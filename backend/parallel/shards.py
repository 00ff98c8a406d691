"""Which part of every matrix a rank keeps: the plan of shards, in numbers alone.

Every matrix that is split is cut into `VIRTUAL` shards whatever the number of ranks, and a rank keeps a run of
neighbouring ones. What is computed is computed shard by shard, so that the same products are made, and the same sums,
by 1, 2, 4 or 8 ranks (Shoeybi et al., arXiv 1909.08053, for which matrices are cut which way).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from lampc.backend.errors import Unsupported

VIRTUAL = 8
"""Shards of every matrix: the largest number of ranks. A power of two, so that sums form a tree."""

Part = tuple[int, int]
"""From the first to behind the last."""


@dataclass(frozen=True, slots=True)
class Shards:
    """What one of `ranks` ranks keeps. Raises ValueError for a number of ranks that does not divide `VIRTUAL`."""

    rank: int
    ranks: int

    def __post_init__(self) -> None:
        if not isinstance(self.ranks, int) or not 1 <= self.ranks <= VIRTUAL or VIRTUAL % self.ranks:
            raise ValueError(f"tensor_parallel is {self.ranks!r}; choose 1, 2, 4 or 8")

    def pieces(self, size: int) -> list[Part]:
        """This rank's shards of `size` rows or columns, one after the other."""
        each = VIRTUAL // self.ranks
        first = self.rank * each
        cuts = [i * size // VIRTUAL for i in range(first, first + each + 1)]
        return list(pairwise(cuts))

    def part(self, size: int) -> Part:
        """This rank's shards of `size` rows or columns as one."""
        pieces = self.pieces(size)
        return pieces[0][0], pieces[-1][1]

    def width(self, size: int) -> int:
        """How many of `size` rows or columns this rank keeps."""
        start, end = self.part(size)
        return end - start

    def kv_heads(self, kv_heads: int) -> Part:
        """The K/V heads that this rank's query heads attend to; several ranks keep the same where there are fewer."""
        if self.ranks <= kv_heads:
            return self.part(kv_heads)
        head = self.rank * kv_heads // self.ranks
        return head, head + 1

    def kv_pieces(self, kv_heads: int, head_dim: int) -> list[Part]:
        """Rows of the K (or V) projection, cut the same way for any number of ranks."""
        if kv_heads >= VIRTUAL:
            return self.pieces(kv_heads * head_dim)
        start, end = self.kv_heads(kv_heads)
        return [(i * head_dim, (i + 1) * head_dim) for i in range(start, end)]

    def check(self, heads: int, kv_heads: int, **sizes: int) -> None:
        """Raises Unsupported if a model of such a shape cannot be cut like this."""
        fits = heads % self.ranks == 0 and (kv_heads % self.ranks == 0 or self.ranks % kv_heads == 0)
        if not fits:
            raise Unsupported(
                f"{heads} heads with {kv_heads} K/V heads cannot be split over {self.ranks} ranks: heads must be a "
                "multiple of ranks, and K/V heads a multiple or a divisor; choose another tensor_parallel"
            )
        for name, size in sizes.items():
            if size < VIRTUAL:
                raise Unsupported(f"{name} {size} cannot be cut into {VIRTUAL} shards; leave tensor_parallel out")


T = TypeVar("T")


def tree(values: Sequence[T]) -> T:
    """Their sum by neighbours, neighbours of neighbours and so on; as many as a power of two.

    Aligned runs of values are subtrees: their sums may be made elsewhere, and the result is the same to the bit.
    """
    left = list(values)
    while len(left) > 1:
        left = [a + b for a, b in zip(left[::2], left[1::2], strict=True)]  # type: ignore[operator]
    return left[0]
