"""BERT (Devlin et al., arXiv 1810.04805) and its small relatives, MiniLM among them: learned positions and token types,
attention in both directions, norms after each part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch.nn import functional

from lampc.backend.errors import CheckpointError
from lampc.backend.models.checkpoint import Checkpoint
from lampc.backend.models.fields import Fields
from lampc.backend.models.layers import LayerNorm, Linear, elementwise, gelu_tanh

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": lambda x: elementwise(functional.gelu, x),
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": torch.relu,
}


@dataclass(frozen=True, slots=True)
class BertConfig:
    """Shape of a model; `positions` is the size of the table of positions."""

    vocab_size: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    positions: int
    token_types: int
    norm_eps: float
    activation: str

    @classmethod
    def read(cls, fields: Fields) -> "BertConfig":
        """Raises CheckpointError or Unsupported."""
        fields.only("hidden_act", *_ACTIVATIONS)
        fields.only("position_embedding_type", "absolute")
        fields.only("is_decoder", False)
        fields.only("add_cross_attention", False)
        hidden, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
        if hidden % heads:
            raise CheckpointError(
                f"{fields.path}: hidden_size {hidden} must be a multiple of num_attention_heads {heads}"
            )
        return cls(
            vocab_size=fields.count("vocab_size"),
            hidden=hidden,
            intermediate=fields.count("intermediate_size"),
            layers=fields.count("num_hidden_layers"),
            heads=heads,
            positions=fields.count("max_position_embeddings"),
            token_types=fields.count("type_vocab_size", 2),
            norm_eps=fields.number("layer_norm_eps", 1e-12),
            activation=fields.values.get("hidden_act") or "gelu",
        )


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: Linear  # [3 * hidden, hidden]
    o: Linear
    norm: LayerNorm
    up: Linear
    down: Linear
    mlp_norm: LayerNorm


class Bert:
    """Weights and forward pass; see `lampc.backend.models.registry.EncoderModel`."""

    def __init__(self, config: BertConfig, source: Checkpoint) -> None:
        c = self.config = config
        self.vocab_size, self.hidden, self.positions = c.vocab_size, c.hidden, c.positions
        # Models with a head on top have a prefix; heads and the pooler say nothing of tokens.
        at = "bert." if "bert.embeddings.word_embeddings.weight" in source.weights else ""
        source.weights.ignore(r"(bert\.)?(embeddings\.position_ids|pooler\..*)|(cls|classifier|dropout)\..*")
        self._words = source.tensor(f"{at}embeddings.word_embeddings.weight", c.vocab_size, c.hidden)
        self._places = source.tensor(f"{at}embeddings.position_embeddings.weight", c.positions, c.hidden)
        types = source.tensor(f"{at}embeddings.token_type_embeddings.weight", c.token_types, c.hidden)
        self._type = types[0]  # a text that stands alone is of the first type
        self._norm = self._layer_norm(source, f"{at}embeddings.LayerNorm")
        self._layers = [self._layer(source, f"{at}encoder.layer.{i}") for i in range(c.layers)]
        self._activation = _ACTIVATIONS[c.activation]

    @classmethod
    def load(cls, source: Checkpoint) -> Self:
        """Builds the model. Raises CheckpointError or Unsupported."""
        return cls(BertConfig.read(source.fields), source)

    def _layer(self, source: Checkpoint, at: str) -> _Layer:
        hidden, inner = self.config.hidden, self.config.intermediate
        parts = {f"{at}.attention.self.{name}": hidden for name in ("query", "key", "value")}
        return _Layer(
            qkv=source.linear(parts, hidden, bias=True),
            o=source.linear({f"{at}.attention.output.dense": hidden}, hidden, bias=True),
            norm=self._layer_norm(source, f"{at}.attention.output.LayerNorm"),
            up=source.linear({f"{at}.intermediate.dense": inner}, hidden, bias=True),
            down=source.linear({f"{at}.output.dense": hidden}, inner, bias=True),
            mlp_norm=self._layer_norm(source, f"{at}.output.LayerNorm"),
        )

    def _layer_norm(self, source: Checkpoint, at: str) -> LayerNorm:
        old = f"{at}.gamma" in source.weights  # as the first files spell it
        weight, bias = (
            source.tensor(f"{at}.{name}", self.config.hidden)
            for name in (("gamma", "beta") if old else ("weight", "bias"))
        )
        return LayerNorm(weight, bias, self.config.norm_eps)

    def forward(self, ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Last hidden states [M, hidden]; see `lampc.backend.models.registry.EncoderModel`."""
        places = torch.zeros_like(ids)
        places[: sum(lengths)] = torch.cat([torch.arange(n) for n in lengths])
        x = self._norm(self._words[ids] + self._type + self._places[places])
        for layer in self._layers:
            x = layer.norm(x + layer.o(self._attend(layer.qkv(x), lengths)))
            x = layer.mlp_norm(x + layer.down(self._activation(layer.up(x))))
        return x

    def _attend(self, qkv: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """qkv [M, 3 * hidden] to [M, hidden], in float32 within: each token sees all of its own text.

        Text by text, since the bits of a product may change with its shape.
        """
        heads, size = self.config.heads, self.config.hidden // self.config.heads
        out = qkv.new_zeros(len(qkv), self.config.hidden)
        start = 0
        for n in lengths:
            own = qkv[start : start + n].float().view(n, 3, heads, size).permute(1, 2, 0, 3)
            q, k, v = own.clone(memory_format=torch.contiguous_format)
            weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * size**-0.5, dim=-1)
            out[start : start + n] = torch.bmm(weights, v).transpose(0, 1).reshape(n, -1)
            start += n
        return out
