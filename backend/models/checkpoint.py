"""What a model is built from: a checked config, tensors by name, and where and how to compute."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from lampc.backend.models.fields import Fields
from lampc.backend.models.layers import Linear
from lampc.backend.models.rows import Rows
from lampc.backend.models.weights import Weights

if TYPE_CHECKING:
    from lampc.backend.models.targets import Target

Projection = tuple[torch.Tensor, torch.Tensor | None]
"""Weight [N, K] and bias [N]."""

Product = Callable[[torch.Tensor], torch.Tensor]


class Adapting(Protocol):
    """Adapters, served (`lampc.backend.models.lora`) or in training (`lampc.backend.training.lora`)."""

    def around(self, product: Product, targets: "Sequence[Target]", width: int) -> Product:
        """A product of rows [M, width], with what adapters add to it."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint folder that is being loaded as `dtype` on `device`.

    `context_length` is what the user asked for, None for the model's own.
    """

    fields: Fields
    weights: Weights
    device: torch.device
    dtype: torch.dtype
    rows: Rows
    context_length: int | None = None
    adapters: Adapting | None = None

    def tensor(self, name: str, *shape: int) -> torch.Tensor:
        """A tensor of exactly this shape. Raises CheckpointError."""
        return self.weights.get(name, shape, self.device, self.dtype)

    def projection(self, parts: Mapping[str, int], width: int, bias: bool = False) -> Projection:
        """Projections that share their input [M, width], as one; `parts` names them with their outputs.

        Reads `name.weight` [outputs, width] and, with a bias, `name.bias` [outputs].
        """
        weights = [self.tensor(f"{name}.weight", rows, width) for name, rows in parts.items()]
        biases = [self.tensor(f"{name}.bias", rows) for name, rows in parts.items()] if bias else []
        return torch.cat(weights), torch.cat(biases) if bias else None

    def linear(self, parts: Mapping[str, int], width: int, bias: bool = False) -> Linear:
        """The layer that computes such a projection."""
        return Linear(*self.projection(parts, width, bias), self.rows)

    def output(self, name: str, embed_name: str, embed: torch.Tensor, tied: bool) -> Projection:
        """The output projection [vocab, hidden]: the embedding itself if they are tied.

        Raises CheckpointError if they are said to be tied but are stored with different values.
        """
        if not tied:
            return self.tensor(name, *embed.shape), None
        if name in self.weights and not torch.equal(self.tensor(name, *embed.shape), embed):
            raise self.fields.wrong("tie_word_embeddings", f"false, since {name} differs from {embed_name}")
        return embed, None

    def head(self, name: str, embed_name: str, embed: torch.Tensor, tied: bool) -> Linear:
        """The layer that computes the output projection."""
        return Linear(*self.output(name, embed_name, embed, tied), self.rows)
