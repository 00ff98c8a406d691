"""The decoder that Llama and its relatives share; what they differ in is in `DecoderConfig`.

Pre-norm layers of grouped-query attention with rotary positions and a gated SiLU feed-forward part
(Touvron et al., arXiv 2302.13971; Ainslie et al., arXiv 2305.13245).
"""

from dataclasses import dataclass
from typing import Self

import torch

from lampc.backend.errors import CheckpointError
from lampc.backend.models.checkpoint import Checkpoint
from lampc.backend.models.fields import Fields
from lampc.backend.models.layers import Attend, Linear, gated_silu, picked, rms_norm, rotate
from lampc.backend.models.rope import Rope


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Shape of a model. `qk_norm`: queries and keys are normalised per head, before they are rotated."""

    vocab_size: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    rope: Rope
    windows: tuple[int | None, ...]
    tied: bool
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False

    @classmethod
    def read(cls, fields: Fields, context: int | None, head_dim: int | None = None) -> "DecoderConfig":
        """What all config.json of this family say alike; `head_dim` is what it is if the file does not say.

        Raises CheckpointError, Unsupported or ValueError.
        """
        fields.only("hidden_act", "silu")
        heads, hidden = fields.count("num_attention_heads"), fields.count("hidden_size")
        kv_heads = fields.count("num_key_value_heads", heads)
        dim = fields.count("head_dim", head_dim or max(1, hidden // heads))
        if heads % kv_heads or dim % 2:
            raise CheckpointError(
                f"{fields.path}: {heads} heads, {kv_heads} kv heads, head_dim {dim}; "
                "heads must be a multiple of kv heads and head_dim even"
            )
        layers = fields.count("num_hidden_layers")
        return cls(
            vocab_size=fields.count("vocab_size"),
            hidden=hidden,
            intermediate=fields.count("intermediate_size"),
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=dim,
            norm_eps=fields.number("rms_norm_eps", 1e-6),
            rope=Rope.read(fields, dim, context),
            windows=(None,) * layers,
            tied=fields.flag("tie_word_embeddings"),
        )


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor
    qkv: Linear  # [(heads + 2 kv_heads) * D, hidden]
    qk_norm: torch.Tensor | None  # [heads + kv_heads, D]
    o: Linear
    mlp_norm: torch.Tensor
    gate_up: Linear  # [2 * intermediate, hidden]
    down: Linear


class Decoder:
    """Weights and forward pass; see `lampc.backend.models.registry.Model`. Subclasses read their config."""

    def __init__(self, config: DecoderConfig, source: Checkpoint) -> None:
        c = self.config = config
        self.vocab_size, self.context_length = c.vocab_size, c.rope.context
        self.layers, self.heads, self.kv_heads, self.head_dim = c.layers, c.heads, c.kv_heads, c.head_dim
        self.windows = c.windows
        source.weights.ignore(r".*\.rotary_emb\.inv_freq")
        embed = "model.embed_tokens.weight"
        self._embed = source.tensor(embed, c.vocab_size, c.hidden)
        self._layers = [self._layer(source, f"model.layers.{i}") for i in range(c.layers)]
        self._norm = source.tensor("model.norm.weight", c.hidden)
        self._head = source.head("lm_head.weight", embed, self._embed, c.tied)
        self._rows = source.rows
        self._cos, self._sin = c.rope.tables(source.device)

    @classmethod
    def load(cls, source: Checkpoint) -> Self:
        """Builds the model. Raises CheckpointError, Unsupported or ValueError."""
        return cls(cls.read(source.fields, source.context_length), source)

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """The architecture's config. Raises CheckpointError, Unsupported or ValueError."""
        raise NotImplementedError

    def _layer(self, source: Checkpoint, at: str) -> _Layer:
        c = self.config
        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        attention, mlp = f"{at}.self_attn", f"{at}.mlp"
        qkv = {f"{attention}.q_proj": q, f"{attention}.k_proj": kv, f"{attention}.v_proj": kv}
        gate_up = {f"{mlp}.gate_proj": c.intermediate, f"{mlp}.up_proj": c.intermediate}
        qk_norm = None
        if c.qk_norm:
            one = [source.tensor(f"{attention}.{name}_norm.weight", c.head_dim) for name in "qk"]
            qk_norm = torch.cat([one[0].expand(c.heads, -1), one[1].expand(c.kv_heads, -1)])
        return _Layer(
            norm=source.tensor(f"{at}.input_layernorm.weight", c.hidden),
            qkv=source.linear(qkv, c.hidden, c.qkv_bias),
            qk_norm=qk_norm,
            o=source.linear({f"{attention}.o_proj": c.hidden}, q, c.o_bias),
            mlp_norm=source.tensor(f"{at}.post_attention_layernorm.weight", c.hidden),
            gate_up=source.linear(gate_up, c.hidden, c.mlp_bias),
            down=source.linear({f"{mlp}.down_proj": c.hidden}, c.intermediate, c.mlp_bias),
        )

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor) -> torch.Tensor:
        """Logits [n, vocab], float32, of `rows`; see `lampc.backend.models.registry.Model`."""
        c, split = self.config, self.heads + self.kv_heads
        x = self._embed[ids]
        cos = self._cos[positions].unsqueeze(1).to(x.dtype)
        sin = self._sin[positions].unsqueeze(1).to(x.dtype)
        for i, layer in enumerate(self._layers):
            heads = layer.qkv(rms_norm(x, layer.norm, c.norm_eps)).view(len(ids), split + c.kv_heads, c.head_dim)
            qk = heads[:, :split]
            if layer.qk_norm is not None:
                qk = rms_norm(qk, layer.qk_norm, c.norm_eps)
            qk = rotate(qk, cos, sin)
            mixed = attend(i, qk[:, : c.heads], qk[:, c.heads :], heads[:, split:])
            x = x + layer.o(mixed.reshape(len(ids), -1))
            x = x + layer.down(gated_silu(layer.gate_up(rms_norm(x, layer.mlp_norm, c.norm_eps))))
        return self._head(rms_norm(picked(x, rows, self._rows), self._norm, c.norm_eps))[: len(rows)].float()
