"""The decoders of `lampc.backend.models.decoder`, one rank's share of them.

Query heads, the K/V heads that they need, the feed-forward part's inner values and the vocabulary are split; norms and
the residual stream are the same on every rank. Two sums over ranks per layer, and one for the embedding.
"""

from dataclasses import dataclass

import torch

from lampc.backend.models.decoder import DecoderConfig
from lampc.backend.models.layers import Attend, gated_silu, picked, rms_norm, rotate
from lampc.backend.parallel.linear import Column, Row
from lampc.backend.parallel.outline import Outline, Pass
from lampc.backend.parallel.shards import Shards
from lampc.backend.parallel.source import Source


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor
    qkv: Column
    qk_norm: torch.Tensor | None  # [heads + kv_heads, D]
    o: Row
    mlp_norm: torch.Tensor
    gate_up: Column
    down: Row


def outline(c: DecoderConfig, shards: Shards) -> Outline:
    """Raises Unsupported if it cannot be split like this."""
    shards.check(c.heads, c.kv_heads, intermediate_size=c.intermediate, vocab_size=c.vocab_size)
    first, end = shards.kv_heads(c.kv_heads)
    return Outline(
        c.vocab_size, c.layers, shards.width(c.heads), end - first, c.head_dim, c.rope.context, c.windows, c.hidden
    )


class ShardedDecoder:
    """See `lampc.backend.parallel.outline.Sharded`."""

    def __init__(self, c: DecoderConfig, source: Source) -> None:
        self.outline = outline(c, source.shards)
        self._config, self._rows = c, source.rows
        source.weights.ignore(r".*\.rotary_emb\.inv_freq")
        name = "model.embed_tokens.weight"
        self._embed = source.embedding(name, c.vocab_size, c.hidden)
        self._layers = [self._layer(source, f"model.layers.{i}") for i in range(c.layers)]
        self._norm = source.whole("model.norm.weight", c.hidden)
        self._head = source.head("lm_head.weight", self._embed, c.vocab_size, c.tied)
        self._cos, self._sin = c.rope.tables(source.device)

    def _layer(self, source: Source, at: str) -> _Layer:
        c, shards = self._config, source.shards
        q, kv, inner = c.heads * c.head_dim, c.kv_heads * c.head_dim, c.intermediate
        attention, mlp = f"{at}.self_attn", f"{at}.mlp"
        kv_pieces = shards.kv_pieces(c.kv_heads, c.head_dim)
        qkv = source.pieces(f"{attention}.q_proj", q, c.hidden, shards.pieces(q), c.qkv_bias)
        for name in "kv":
            qkv += source.pieces(f"{attention}.{name}_proj", kv, c.hidden, kv_pieces, c.qkv_bias)
        gate_up = [
            piece
            for name in ("gate", "up")
            for piece in source.pieces(f"{mlp}.{name}_proj", inner, c.hidden, shards.pieces(inner), c.mlp_bias)
        ]
        qk_norm = None
        if c.qk_norm:
            one = [source.whole(f"{attention}.{name}_norm.weight", c.head_dim) for name in "qk"]
            qk_norm = torch.cat([one[0].expand(self.outline.heads, -1), one[1].expand(self.outline.kv_heads, -1)])
        return _Layer(
            norm=source.whole(f"{at}.input_layernorm.weight", c.hidden),
            qkv=source.column(qkv),
            qk_norm=qk_norm,
            o=source.row(f"{attention}.o_proj", c.hidden, q, c.o_bias),
            mlp_norm=source.whole(f"{at}.post_attention_layernorm.weight", c.hidden),
            gate_up=source.column(gate_up),
            down=source.row(f"{mlp}.down_proj", c.hidden, inner, c.mlp_bias),
        )

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor) -> Pass:
        """See `Sharded.forward`."""
        c, count, heads, kv_heads = self._config, len(ids), self.outline.heads, self.outline.kv_heads
        x = self._embed(ids)
        cos, sin = (table[positions].unsqueeze(1).to(x.dtype) for table in (self._cos, self._sin))
        for i, w in enumerate(self._layers):
            states = w.qkv(rms_norm(x, w.norm, c.norm_eps)).view(count, heads + 2 * kv_heads, c.head_dim)
            qk, v = states[:, : heads + kv_heads], states[:, heads + kv_heads :]
            if w.qk_norm is not None:
                qk = rms_norm(qk, w.qk_norm, c.norm_eps)
            qk = rotate(qk, cos, sin)
            attended = w.o.start(attend(i, qk[:, :heads], qk[:, heads:], v).reshape(count, -1))
            yield
            x = x + attended()
            fed = w.down.start(gated_silu(w.gate_up(rms_norm(x, w.mlp_norm, c.norm_eps))))
            yield
            x = x + fed()
        last = rms_norm(picked(x, rows, self._rows), self._norm, c.norm_eps)
        return self._head(last, wide=True)[: len(rows)]
