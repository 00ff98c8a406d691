"""The decoders of `lampc.backend.models.decoder`, one rank's share of them.

Query heads, the K/V heads that they need, the feed-forward part's inner values or its experts, and the vocabulary are
split; norms, routers and the residual stream are the same on every rank. Two sums over ranks per layer, one before all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lampc.backend.models.decoder import DecoderConfig
from lampc.backend.models.experts import Experts, Mixture
from lampc.backend.models.layers import Attend, Linear, Mlp, gated_silu, picked, rms_norm, rotate
from lampc.backend.parallel.group import Later
from lampc.backend.parallel.linear import Column, Row
from lampc.backend.parallel.outline import Outline, Pass
from lampc.backend.parallel.shards import Shards, tree
from lampc.backend.parallel.source import Source


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor
    qkv: Column
    qk_norm: torch.Tensor | None  # [heads + kv_heads, D]
    o: Row
    mlp_norm: torch.Tensor
    feed: Callable[[torch.Tensor], Later]  # a feed-forward part, up to its sum over ranks


def outline(c: DecoderConfig, shards: Shards) -> Outline:
    """Raises Unsupported if it cannot be split like this."""
    sizes = {"vocab_size": c.vocab_size}
    if any(c.mixture(layer) is None for layer in range(c.layers)):
        sizes["intermediate_size"] = c.intermediate
    shards.check(c.heads, c.kv_heads, **sizes)
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
        self._layers = [self._layer(source, i) for i in range(c.layers)]
        self._norm = source.whole("model.norm.weight", c.hidden)
        self._head = source.head("lm_head.weight", self._embed, c.vocab_size, c.tied)
        self._cos, self._sin = c.rope.tables(source.device)

    def _layer(self, source: Source, layer: int) -> _Layer:
        c, shards, at = self._config, source.shards, f"model.layers.{layer}"
        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        attention = f"{at}.self_attn"
        kv_pieces = shards.kv_pieces(c.kv_heads, c.head_dim)
        qkv = source.pieces(f"{attention}.q_proj", q, c.hidden, shards.pieces(q), c.qkv_bias)
        for name in "kv":
            qkv += source.pieces(f"{attention}.{name}_proj", kv, c.hidden, kv_pieces, c.qkv_bias)
        qk_norm, mixture = None, c.mixture(layer)
        if c.qk_norm:
            one = [source.whole(f"{attention}.{name}_norm.weight", c.head_dim) for name in "qk"]
            qk_norm = torch.cat([one[0].expand(self.outline.heads, -1), one[1].expand(self.outline.kv_heads, -1)])
        return _Layer(
            norm=source.whole(f"{at}.input_layernorm.weight", c.hidden),
            qkv=source.column(qkv),
            qk_norm=qk_norm,
            o=source.row(f"{attention}.o_proj", c.hidden, q, c.o_bias),
            mlp_norm=source.whole(f"{at}.post_attention_layernorm.weight", c.hidden),
            feed=self._feed(source, f"{at}.mlp") if mixture is None else self._experts(source, at, mixture),
        )

    def _feed(self, source: Source, at: str) -> Callable[[torch.Tensor], Later]:
        c, parts = self._config, source.shards.pieces(self._config.intermediate)
        gate, up = (
            source.pieces(f"{at}.{n}_proj", c.intermediate, c.hidden, parts, c.mlp_bias) for n in ("gate", "up")
        )
        gate_up, down = source.column([*gate, *up]), source.row(f"{at}.down_proj", c.hidden, c.intermediate, c.mlp_bias)
        return lambda x: down.start(gated_silu(gate_up(x)))

    def _experts(self, source: Source, at: str, m: Mixture) -> Callable[[torch.Tensor], Later]:
        """Whole experts are split: each shard is a run of them, of which there may be none."""
        c, at, rows = self._config, f"{at}.{m.place}", source.rows
        parts = source.shards.pieces(m.count) if rows.exact else [source.shards.part(m.count)]
        own = range(parts[0][0], parts[-1][1])
        others = "|".join(str(i) for i in range(m.count) if i not in own)
        source.weights.ignore(rf"{re.escape(at)}\.experts\.({others})\.[^.]*\.weight")

        def linear(names: list[str], size: int, width: int) -> Linear:
            return Linear(torch.cat([source.whole(f"{name}.weight", size, width) for name in names]), None, rows)

        def expert(number: int) -> Mlp:
            gate, up, down = (f"{at}.experts.{number}.{name}" for name in m.names)
            return Mlp(linear([gate, up], m.intermediate, c.hidden), linear([down], c.hidden, m.intermediate))

        router = Linear(source.whole(f"{at}.gate.weight", m.count, c.hidden), None, rows, rounded=False)
        experts = Experts(m, router, [expert(i) for i in own], own.start)

        def start(x: torch.Tensor) -> Later:
            summed = source.add(tree(experts.sums(x, parts)))
            return lambda: summed().to(x.dtype)

        return start

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
            fed = w.feed(rms_norm(x, w.mlp_norm, c.norm_eps))
            yield
            x = x + fed()
        last = rms_norm(picked(x, rows, self._rows), self._norm, c.norm_eps)
        return self._head(last, wide=True)[: len(rows)]
