"""What a rank's share of a model looks like, and which architectures can be shared out."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lampc.backend.errors import Unsupported
from lampc.backend.models.fields import Fields
from lampc.backend.models.registry import ModelClass

if TYPE_CHECKING:
    import torch

    from lampc.backend.models.layers import Attend
    from lampc.backend.parallel.shards import Shards
    from lampc.backend.parallel.source import Source
    from lampc.backend.scores import Scores


@dataclass(frozen=True, slots=True)
class Outline:
    """`heads` and `kv_heads` are those of the rank; everything else is of the whole model."""

    vocab_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    windows: tuple[int | None, ...]
    hidden: int
    scores: "Scores | None" = None  # None: by the head size


Pass = Generator[None, None, "torch.Tensor"]
"""A forward pass that stops whenever it has begun a sum over ranks, and in the end gives logits [n, width]."""


class Sharded(Protocol):
    """A rank's share of a model; all ranks call `forward` together."""

    outline: Outline

    def forward(self, ids: "torch.Tensor", positions: "torch.Tensor", attend: "Attend", rows: "torch.Tensor") -> "Pass":
        """Like that of `lampc.backend.models.registry.Model`, but a pass, and of this rank's tokens alone."""
        ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to share out one model: the outline is known before anything is read."""

    outline: "Callable[[Shards], Outline]"
    load: "Callable[[Source], Sharded]"


def recipe(model: ModelClass, fields: Fields, context: int | None) -> Recipe:
    """For a registered model. Raises Unsupported for one that no rank can take a share of, and what reading its
    config raises."""
    from lampc.backend.models.decoder import Decoder
    from lampc.backend.models.gpt2 import GPT2, GPT2Config
    from lampc.backend.parallel import decoder, gpt2

    if isinstance(model, type) and issubclass(model, Decoder):
        config = model.read(fields, context)
        return Recipe(lambda s: decoder.outline(config, s), lambda source: decoder.ShardedDecoder(config, source))
    if isinstance(model, type) and issubclass(model, GPT2):
        gpt = GPT2Config.read(fields)
        asked = context or gpt.positions
        if asked > gpt.positions:
            raise ValueError(f"context_length {asked} is more than the {gpt.positions} positions of {fields.path}")
        return Recipe(lambda s: gpt2.outline(gpt, s, asked), lambda source: gpt2.ShardedGPT2(gpt, source, asked))
    raise Unsupported(f"{model!r} cannot be shared out over ranks; leave tensor_parallel out")
