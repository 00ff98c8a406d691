"""The decoders of `lampc.backend.models.decoder`, one rank's share of them.

Query heads, the K/V heads that they need, the feed-forward part's inner values or its experts, and the vocabulary are
split; norms, routers and the residual stream are the same on every rank. Two sums over ranks per layer, one before all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.decoder_weights import head_norms, layer_norms, read_norm
from lampc.backend.models.experts import Experts, Mixture
from lampc.backend.models.layers import (
    Attend,
    Linear,
    Mlp,
    gated,
    picked,
    rms_norm,
    rotate,
    row_sums,
    scaled,
    soft_cap,
)
from lampc.backend.models.rope import rotary_rows
from lampc.backend.parallel.fused import FusedDecoder, FusedLayer, usable
from lampc.backend.parallel.group import Later
from lampc.backend.parallel.linear import Column, Piece, Row
from lampc.backend.parallel.outline import Outline, Pass
from lampc.backend.parallel.shards import Shards, tree
from lampc.backend.parallel.source import Source
from lampc.backend.scores import Scores


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor | None
    qkv: Column
    qk_norm: torch.Tensor | None  # [heads + kv_heads, D]
    o: Row
    after_norm: torch.Tensor | None
    mlp_norm: torch.Tensor | None
    feed: Callable[[torch.Tensor], Later]  # a feed-forward part, up to its sum over ranks
    after_mlp_norm: torch.Tensor | None


def outline(c: DecoderConfig, shards: Shards) -> Outline:
    """Raises Unsupported if it cannot be split like this."""
    sizes = {"vocab_size": c.vocab_size}
    if any(c.mixture(layer) is None for layer in range(c.layers)):
        sizes["intermediate_size"] = c.intermediate
    shards.check(c.heads, c.kv_heads, **sizes)
    first, end = shards.kv_heads(c.kv_heads)
    own = shards.width(c.heads), end - first, c.head_dim
    scores = Scores(c.score_divisor or c.head_dim, c.score_cap)
    return Outline(c.vocab_size, c.layers, *own, c.rope.context, c.windows, c.hidden, scores)


class ShardedDecoder:
    """See `lampc.backend.parallel.outline.Sharded`."""

    def __init__(self, c: DecoderConfig, source: Source) -> None:
        self.outline = outline(c, source.shards)
        self._config, self._rows, self._add = c, source.rows, source.add
        self._heads, self._kv_heads = source.shards.part(c.heads), source.shards.kv_heads(c.kv_heads)
        self._first_of_kv = source.shards.rank * c.kv_heads % source.shards.ranks == 0  # others may have the same head
        source.weights.ignore(r".*\.rotary_emb\.inv_freq")
        name = "model.embed_tokens.weight"
        self._embed = source.embedding(name, c.vocab_size, c.hidden)
        ropes = {False: c.rope} if c.local_rope is None else {False: c.rope, True: c.local_rope}
        self._tables = {local: rope.tables(source.device) for local, rope in ropes.items()}
        self._fused: FusedDecoder | None = None
        native, memory = source.rows.native, source.rows.memory
        if native is not None and memory is not None and usable(c):
            layers = [self._fused_layer(source, i) for i in range(c.layers)]
            norm = read_norm(c, source, "model.norm", c.hidden)
            head = source.head("lm_head.weight", self._embed, c.vocab_size, c.tied)
            tables = [self._tables[c.is_local(i)] for i in range(c.layers)]
            more = native, memory, source.rows.int8
            self._fused = FusedDecoder(c, self.outline, layers, norm, head, tables, *more)
            return
        self._layers = [self._layer(source, i) for i in range(c.layers)]
        self._norm = read_norm(c, source, "model.norm", c.hidden)
        self._head = source.head("lm_head.weight", self._embed, c.vocab_size, c.tied)

    def _fused_layer(self, source: Source, layer: int) -> FusedLayer:
        c, at = self._config, f"model.layers.{layer}"
        norm, after_norm, mlp_norm, after_mlp_norm = layer_norms(c, source, at)
        gate, up = self._gate_up(source, f"{at}.mlp")
        return FusedLayer(
            norm=norm,
            qkv=source.column(self._qkv(source, f"{at}.self_attn")),
            qk_norm=self._qk_norm(source, f"{at}.self_attn"),
            o=source.row(f"{at}.self_attn.o_proj", c.hidden, c.heads * c.head_dim, c.o_bias),
            after_norm=after_norm,
            mlp_norm=mlp_norm,
            gate=gate,
            up=up,
            down=source.row(f"{at}.mlp.down_proj", c.hidden, c.intermediate, c.mlp_bias),
            after_mlp_norm=after_mlp_norm,
        )

    def _qk_norm(self, source: Source, at: str) -> torch.Tensor | None:
        c = self._config
        if (found := head_norms(c, source, at)) is None:
            return None
        both = zip(found, (self._heads, self._kv_heads), strict=True)
        return torch.cat([w[a:b] if c.qk_joint else w.expand(b - a, -1) for w, (a, b) in both])

    def _layer(self, source: Source, layer: int) -> _Layer:
        c, at = self._config, f"model.layers.{layer}"
        attention, mixture = f"{at}.self_attn", c.mixture(layer)
        norm, after_norm, mlp_norm, after_mlp_norm = layer_norms(c, source, at)
        return _Layer(
            norm=norm,
            qkv=source.column(self._qkv(source, attention)),
            qk_norm=self._qk_norm(source, attention),
            o=source.row(f"{attention}.o_proj", c.hidden, c.heads * c.head_dim, c.o_bias),
            after_norm=after_norm,
            mlp_norm=mlp_norm,
            feed=self._feed(source, f"{at}.mlp") if mixture is None else self._experts(source, at, mixture),
            after_mlp_norm=after_mlp_norm,
        )

    def _qkv(self, source: Source, at: str) -> list[Piece]:
        c, shards = self._config, source.shards
        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        kv_parts = shards.kv_pieces(c.kv_heads, c.head_dim)
        found, first = [], 0
        for name, size, parts in (("q", q, shards.pieces(q)), ("k", kv, kv_parts), ("v", kv, kv_parts)):
            order = None
            if c.rotary is not None and name != "v":
                order = rotary_rows((parts[-1][1] - parts[0][0]) // c.head_dim, c.head_dim, c.rotary)
            tensor = ("qkv_proj", q + 2 * kv) if c.fused else (f"{name}_proj", size)
            found += source.pieces(f"{at}.{tensor[0]}", tensor[1], c.hidden, parts, c.qkv_bias, first, order)
            first += size if c.fused else 0
        return found

    def _gate_up(self, source: Source, at: str) -> list[list[Piece]]:
        """The pieces of either."""
        c, inner, bias = self._config, self._config.intermediate, self._config.mlp_bias
        parts = source.shards.pieces(inner)
        if c.fused:
            places = [("gate_up_proj", 2 * inner, first) for first in (0, inner)]
        else:
            places = [(f"{name}_proj", inner, 0) for name in ("gate", "up")]
        return [source.pieces(f"{at}.{name}", n, c.hidden, parts, bias, first) for name, n, first in places]

    def _feed(self, source: Source, at: str) -> Callable[[torch.Tensor], Later]:
        c = self._config
        gate_up = source.column([piece for part in self._gate_up(source, at) for piece in part])
        down = source.row(f"{at}.down_proj", c.hidden, c.intermediate, c.mlp_bias)
        return lambda x: down.start(gated(gate_up(x), c.activation))

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
        if self._fused is not None:
            return (yield from self._fused.forward(self._embed(ids), positions, attend, rows))
        c, count, heads, kv_heads = self._config, len(ids), self.outline.heads, self.outline.kv_heads
        x = scaled(self._embed(ids), c.embed_scale)
        turns = {
            local: (cos[positions].unsqueeze(1).to(x.dtype), sin[positions].unsqueeze(1).to(x.dtype))
            for local, (cos, sin) in self._tables.items()
        }
        for i, w in enumerate(self._layers):
            states = w.qkv(self._normed(x, w.norm)).view(count, heads + 2 * kv_heads, c.head_dim)
            qk, v = states[:, : heads + kv_heads], states[:, heads + kv_heads :]
            if w.qk_norm is not None and c.qk_joint:
                squares = self._add(self._squares(qk))
                yield
                qk = self._joint(qk, squares(), w.qk_norm)
            elif w.qk_norm is not None:
                qk = rms_norm(qk, w.qk_norm, c.norm_eps)
            qk = rotate(qk, *turns[c.is_local(i)])
            attended = w.o.start(attend(i, qk[:, :heads], qk[:, heads:], v).reshape(count, -1))
            yield
            x = x + self._normed(attended(), w.after_norm)
            fed = w.feed(self._normed(x, w.mlp_norm))
            yield
            x = x + self._normed(fed(), w.after_mlp_norm)
        last = rms_norm(picked(x, rows, self._rows), self._norm, c.norm_eps)
        logits = self._head(last, wide=True)[: len(rows)]
        return logits if c.logit_cap is None else soft_cap(logits, c.logit_cap)

    def _normed(self, x: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        return x if weight is None else rms_norm(x, weight, self._config.norm_eps)

    def _squares(self, qk: torch.Tensor) -> torch.Tensor:
        """[M, all heads and K/V heads]: of own ones the sum of squares, of what others have zero."""
        c, (a, b), (start, end) = self._config, self._heads, self._kv_heads
        own = qk.float().square().sum(-1)
        found = own.new_zeros(len(qk), c.heads + c.kv_heads)
        found[:, a:b] = own[:, : b - a]
        if self._first_of_kv or end - start > 1:
            found[:, c.heads + start : c.heads + end] = own[:, b - a :]
        return found

    def _joint(self, qk: torch.Tensor, squares: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Queries and keys by the root mean square of all heads, weight [heads + kv_heads, D]."""
        c, heads = self._config, self.outline.heads
        parts = squares[:, : c.heads], squares[:, c.heads :]
        q, k = (torch.rsqrt(row_sums(x) / (x.shape[1] * c.head_dim) + c.norm_eps).unsqueeze(1) for x in parts)
        scale = torch.cat([q.expand(-1, heads, 1), k.expand(-1, self.outline.kv_heads, 1)], dim=1)
        return (qk.float() * scale * weight).to(qk.dtype)
