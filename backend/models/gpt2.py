"""GPT-2 (Radford et al., 2019): learned positions, LayerNorm with biases, one feed-forward matrix each way."""

from dataclasses import dataclass
from typing import Self

import torch

from lampc.backend.errors import CheckpointError
from lampc.backend.models.checkpoint import Checkpoint
from lampc.backend.models.fields import Fields
from lampc.backend.models.layers import Attend, LayerNorm, Linear, gelu_tanh, picked


@dataclass(frozen=True, slots=True)
class GPT2Config:
    """Shape of a model; `positions` is the size of the table of positions."""

    vocab_size: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    positions: int
    norm_eps: float
    tied: bool

    @classmethod
    def read(cls, fields: Fields) -> "GPT2Config":
        """Raises CheckpointError or Unsupported."""
        fields.only("activation_function", "gelu_new", "gelu_pytorch_tanh")
        fields.only("scale_attn_weights", True)
        fields.only("scale_attn_by_inverse_layer_idx", False)
        fields.only("add_cross_attention", False)
        hidden, heads = fields.count("n_embd"), fields.count("n_head")
        if hidden % heads:
            raise CheckpointError(f"{fields.path}: n_embd {hidden} must be a multiple of n_head {heads}")
        return cls(
            vocab_size=fields.count("vocab_size"),
            hidden=hidden,
            intermediate=fields.count("n_inner", 4 * hidden),
            layers=fields.count("n_layer"),
            heads=heads,
            positions=fields.count("n_positions"),
            norm_eps=fields.number("layer_norm_epsilon", 1e-5),
            tied=fields.flag("tie_word_embeddings", True),
        )


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: LayerNorm
    qkv: Linear  # [3 * hidden, hidden]
    o: Linear
    mlp_norm: LayerNorm
    up: Linear
    down: Linear


class GPT2:
    """Weights and forward pass; see `lampc.backend.models.registry.Model`."""

    def __init__(self, config: GPT2Config, source: Checkpoint) -> None:
        c = self.config = config
        asked = source.context_length or c.positions
        if asked > c.positions:
            raise ValueError(
                f"context_length {asked} is more than the {c.positions} positions of {source.fields.path}; "
                "ask for fewer"
            )
        self.vocab_size, self.context_length = c.vocab_size, asked
        self.layers, self.heads, self.kv_heads, self.head_dim = c.layers, c.heads, c.heads, c.hidden // c.heads
        self.windows = (None,) * c.layers
        # Two spellings are in use; masks are stored by old files.
        at = "transformer." if "transformer.wte.weight" in source.weights else ""
        source.weights.ignore(r".*\.attn\.(masked_)?bias")
        self._rows = source.rows
        self._embed = source.tensor(f"{at}wte.weight", c.vocab_size, c.hidden)
        self._places = source.tensor(f"{at}wpe.weight", c.positions, c.hidden)
        self._layers = [self._layer(source, f"{at}h.{i}") for i in range(c.layers)]
        self._norm = self._layer_norm(source, f"{at}ln_f")
        self._head = source.head("lm_head.weight", f"{at}wte.weight", self._embed, c.tied)

    @classmethod
    def load(cls, source: Checkpoint) -> Self:
        """Builds the model. Raises CheckpointError, Unsupported or ValueError."""
        return cls(GPT2Config.read(source.fields), source)

    def _layer(self, source: Checkpoint, at: str) -> _Layer:
        hidden, inner = self.config.hidden, self.config.intermediate

        def linear(name: str, outputs: int, inputs: int) -> Linear:
            weight = source.tensor(f"{at}.{name}.weight", inputs, outputs)  # stored the other way round
            return Linear(weight.t().contiguous(), source.tensor(f"{at}.{name}.bias", outputs), source.rows)

        return _Layer(
            norm=self._layer_norm(source, f"{at}.ln_1"),
            qkv=linear("attn.c_attn", 3 * hidden, hidden),
            o=linear("attn.c_proj", hidden, hidden),
            mlp_norm=self._layer_norm(source, f"{at}.ln_2"),
            up=linear("mlp.c_fc", inner, hidden),
            down=linear("mlp.c_proj", hidden, inner),
        )

    def _layer_norm(self, source: Checkpoint, at: str) -> LayerNorm:
        hidden = self.config.hidden
        weight, bias = source.tensor(f"{at}.weight", hidden), source.tensor(f"{at}.bias", hidden)
        return LayerNorm(weight, bias, self.config.norm_eps)

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor) -> torch.Tensor:
        """Logits [n, vocab], float32, of `rows`; see `lampc.backend.models.registry.Model`."""
        x = self._embed[ids] + self._places[positions]
        for i, layer in enumerate(self._layers):
            q, k, v = layer.qkv(layer.norm(x)).view(len(ids), 3, self.heads, self.head_dim).unbind(1)
            x = x + layer.o(attend(i, q, k, v).reshape(len(ids), -1))
            x = x + layer.down(gelu_tanh(layer.up(layer.mlp_norm(x))))
        return self._head(self._norm(picked(x, rows, self._rows)))[: len(rows)].float()
