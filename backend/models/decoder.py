"""The decoder that Llama and its relatives share; what they differ in is in `DecoderConfig`.

Layers of grouped-query attention with rotary positions and a gated feed-forward part, with norms before them
(Touvron et al., arXiv 2302.13971; Ainslie et al., arXiv 2305.13245).
"""

from typing import Protocol, Self

import torch

from lampc.backend.models.checkpoint import Checkpoint
from lampc.backend.models.decoder_adapted import AdaptedLayers
from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.decoder_torch import TorchLayers
from lampc.backend.models.decoder_weights import DecoderWeights, read_weights
from lampc.backend.models.fields import Fields
from lampc.backend.models.layers import Attend
from lampc.backend.models.lora import Adapters
from lampc.backend.native.decoder import NativeLayers
from lampc.backend.scores import Scores


class Layers(Protocol):
    """What computes a decoder's layers: torch, native kernels or Triton's."""

    def start(self, ids: torch.Tensor, positions: torch.Tensor) -> "Pass":
        """Looks up the embeddings of ids [M]."""
        ...


class Pass(Protocol):
    """One forward pass of M rows."""

    def through(self, attend: Attend) -> None:
        """Takes the rows through all layers. `attend` gets queries and keys normalised if the model says so, and
        rotated."""
        ...

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [n, vocab] of rows [n]."""
        ...

    def likeliest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows [n] the id of the largest logit, int64 [n], the first of equals, and that logit, float32 [n].

        NaN counts as the largest.
        """
        ...

    def likeliest_and_logits(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same, and what `logits` gives; nobody else writes to that before the next pass."""
        ...


class Decoder:
    """Weights and forward pass; see `lampc.backend.models.registry.Model`. Subclasses read their config."""

    def __init__(self, config: DecoderConfig, source: Checkpoint) -> None:
        c = self.config = config
        self.vocab_size, self.context_length = c.vocab_size, c.rope.context
        self.layers, self.heads, self.kv_heads, self.head_dim = c.layers, c.heads, c.kv_heads, c.head_dim
        self.windows = c.windows
        self.scores = Scores(c.score_divisor or c.head_dim, c.score_cap)
        self.adapters = source.adapters
        self._compute = _layers(c, read_weights(c, source), source)

    @classmethod
    def load(cls, source: Checkpoint) -> Self:
        """Builds the model. Raises CheckpointError, Unsupported or ValueError."""
        return cls(cls.read(source.fields, source.context_length), source)

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """The architecture's config. Raises CheckpointError, Unsupported or ValueError."""
        raise NotImplementedError

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor) -> torch.Tensor:
        """Logits [n, vocab], float32, of `rows`; see `lampc.backend.models.registry.Model`."""
        return self._run(ids, positions, attend).logits(rows)

    def likeliest(
        self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids [n] and logits [n] of the likeliest; see `lampc.backend.models.registry.Greedy`."""
        return self._run(ids, positions, attend).likeliest(rows)

    def likeliest_and_logits(
        self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What `likeliest` and `forward` give, of one pass; the next one may overwrite the logits."""
        return self._run(ids, positions, attend).likeliest_and_logits(rows)

    def _run(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> Pass:
        run = self._compute.start(ids, positions)
        run.through(attend)
        return run


def _layers(config: DecoderConfig, weights: DecoderWeights, source: Checkpoint) -> Layers:
    if source.rows.triton:
        from lampc.backend.kernels.decoder import TritonLayers  # nobody else pays for triton

        return TritonLayers(config, weights, source.rows)
    kernels, memory = source.rows.native, source.rows.memory
    if kernels is None or memory is None:
        return TorchLayers(config, weights, source.rows, source.adapters)
    if isinstance(source.adapters, Adapters):
        return AdaptedLayers(config, weights, kernels, memory, source.rows, source.adapters)
    return NativeLayers(config, weights, kernels, memory, source.rows.int8)
