"""The tensors of a checkpoint as one rank reads them: its own slices, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lampc.backend.errors import CheckpointError
from lampc.backend.models.rows import Rows
from lampc.backend.models.weights import Weights
from lampc.backend.parallel.linear import Column, Piece, Row, Sum
from lampc.backend.parallel.shards import Part, Shards


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint that is being loaded by one rank. All methods raise CheckpointError or Unsupported."""

    weights: Weights
    shards: Shards
    add: Sum
    rows: Rows
    device: torch.device
    dtype: torch.dtype

    def whole(self, name: str, *shape: int) -> torch.Tensor:
        """A tensor that every rank keeps."""
        return self.weights.get(name, shape, self.device, self.dtype)

    def part(self, name: str, shape: tuple[int, ...], dim: int, part: Part) -> torch.Tensor:
        """What lies in `part` of dimension `dim`."""
        where = tuple(slice(*part) if d == dim else slice(None) for d in range(len(shape)))
        return self.weights.get(name, shape, self.device, self.dtype, where).contiguous()

    def pieces(
        self,
        name: str,
        size: int,
        width: int,
        parts: Sequence[Part],
        bias: bool,
        first: int = 0,
        order: torch.Tensor | None = None,
    ) -> list[Piece]:
        """Rows of the projection `name`.weight [size, width], with those of `name`.bias.

        Parts are neighbours, counted from row `first`; their rows as one are brought into an `order`, if there is one.
        """
        begin, end = parts[0][0], parts[-1][1]
        weight = self.part(f"{name}.weight", (size, width), 0, (first + begin, first + end))
        more = self.part(f"{name}.bias", (size,), 0, (first + begin, first + end)) if bias else None
        if order is not None:
            weight, more = weight[order], None if more is None else more[order]
        cuts = [slice(a - begin, b - begin) for a, b in parts]
        return [(weight[cut].clone(), None if more is None else more[cut].clone()) for cut in cuts]

    def column(self, pieces: Sequence[Piece]) -> Column:
        """A layer of whose outputs each rank computes its own."""
        return Column(pieces, self.rows)

    def row(self, name: str, size: int, width: int, bias: bool) -> Row:
        """The projection `name` [size, width], of whose inputs each rank has its own."""
        weight = self.part(f"{name}.weight", (size, width), 1, self.shards.part(width))
        return self._row(weight, width, self.whole(f"{name}.bias", size) if bias else None)

    def transposed_column(self, name: str, size: int, width: int, copies: int = 1) -> Column:
        """As `column`, of `copies` projections side by side in a weight that is stored as [width, copies * size]."""
        pieces = []
        for first in range(0, copies * size, size):
            for a, b in self.shards.pieces(size):
                part = first + a, first + b
                weight = self.part(f"{name}.weight", (width, copies * size), 1, part)
                pieces.append((weight.t().contiguous(), self.part(f"{name}.bias", (copies * size,), 0, part)))
        return self.column(pieces)

    def transposed_row(self, name: str, size: int, width: int) -> Row:
        """As `row`, of a weight that is stored as [width, size]; with a bias."""
        weight = self.part(f"{name}.weight", (width, size), 0, self.shards.part(width))
        return self._row(weight.t(), width, self.whole(f"{name}.bias", size))

    def _row(self, weight: torch.Tensor, width: int, bias: torch.Tensor | None) -> Row:
        return Row(weight, self.shards.pieces(width), bias, self.rows, self.add)

    def embedding(self, name: str, vocab: int, hidden: int) -> "Embedding":
        """A table of which each rank keeps the rows of its own tokens."""
        part = self.shards.part(vocab)
        return Embedding(self.part(name, (vocab, hidden), 0, part), part, self.add)

    def head(self, name: str, embedding: "Embedding", vocab: int, tied: bool) -> Column:
        """The output projection over this rank's tokens: the embedding itself if they are tied.

        Raises CheckpointError if they are said to be tied but are stored with different values.
        """
        table = embedding.table
        if not tied or name in self.weights:
            stored = self.part(name, (vocab, table.shape[1]), 0, embedding.part)
            if tied and not torch.equal(stored, table):
                raise CheckpointError(f"{name} differs from the embedding, and config.json says that they are tied")
            table = stored
        start, _ = embedding.part
        return self.column([(table[a - start : b - start], None) for a, b in self.shards.pieces(vocab)])


@dataclass(frozen=True, slots=True)
class Embedding:
    """Rows [start, end) of a table, the rest of which others keep."""

    table: torch.Tensor
    part: Part
    add: Sum

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """[M, hidden] of ids [M]: one rank has each row, and the others add zeros to it."""
        start, end = self.part
        mine = (ids >= start) & (ids < end)
        x = self.table[(ids - start).clamp(0, end - start - 1)]
        return self.add(x.masked_fill_(~mine.unsqueeze(1), 0.0))() + 0.0  # -0.0 becomes 0.0 for any ranks
