"""GPT-2 (`lampc.backend.models.gpt2`), one rank's share of it: split like the other decoders; positions are not."""

from dataclasses import dataclass

import torch

from lampc.backend.models.gpt2 import GPT2Config
from lampc.backend.models.layers import Attend, LayerNorm, gelu_tanh, picked
from lampc.backend.parallel.linear import Column, Row
from lampc.backend.parallel.outline import Outline, Pass
from lampc.backend.parallel.shards import Shards
from lampc.backend.parallel.source import Source


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: LayerNorm
    qkv: Column
    o: Row
    mlp_norm: LayerNorm
    up: Column
    down: Row


def outline(c: GPT2Config, shards: Shards, context: int) -> Outline:
    """Raises Unsupported if it cannot be split like this."""
    shards.check(c.heads, c.heads, n_inner=c.intermediate, vocab_size=c.vocab_size)
    heads = shards.width(c.heads)
    dim = c.hidden // c.heads
    return Outline(c.vocab_size, c.layers, heads, heads, dim, context, (None,) * c.layers, c.hidden)


class ShardedGPT2:
    """See `lampc.backend.parallel.outline.Sharded`."""

    def __init__(self, c: GPT2Config, source: Source, context: int) -> None:
        self.outline = outline(c, source.shards, context)
        self._config, self._rows = c, source.rows
        at = "transformer." if "transformer.wte.weight" in source.weights else ""
        source.weights.ignore(r".*\.attn\.(masked_)?bias")
        self._embed = source.embedding(f"{at}wte.weight", c.vocab_size, c.hidden)
        self._places = source.whole(f"{at}wpe.weight", c.positions, c.hidden)
        self._layers = [self._layer(source, f"{at}h.{i}") for i in range(c.layers)]
        self._norm = self._layer_norm(source, f"{at}ln_f")
        self._head = source.head("lm_head.weight", self._embed, c.vocab_size, c.tied)

    def _layer(self, source: Source, at: str) -> _Layer:
        hidden, inner = self._config.hidden, self._config.intermediate
        return _Layer(
            norm=self._layer_norm(source, f"{at}.ln_1"),
            qkv=source.transposed_column(f"{at}.attn.c_attn", hidden, hidden, copies=3),
            o=source.transposed_row(f"{at}.attn.c_proj", hidden, hidden),
            mlp_norm=self._layer_norm(source, f"{at}.ln_2"),
            up=source.transposed_column(f"{at}.mlp.c_fc", inner, hidden),
            down=source.transposed_row(f"{at}.mlp.c_proj", hidden, inner),
        )

    def _layer_norm(self, source: Source, at: str) -> LayerNorm:
        hidden = self._config.hidden
        return LayerNorm(
            source.whole(f"{at}.weight", hidden), source.whole(f"{at}.bias", hidden), self._config.norm_eps
        )

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor) -> Pass:
        """See `Sharded.forward`."""
        count, heads, dim = len(ids), self.outline.heads, self.outline.head_dim
        x = self._embed(ids) + self._places[positions]
        for i, layer in enumerate(self._layers):
            q, k, v = layer.qkv(layer.norm(x)).view(count, 3, heads, dim).unbind(1)
            attended = layer.o.start(attend(i, q, k, v).reshape(count, -1))
            yield
            x = x + attended()
            fed = layer.down.start(gelu_tanh(layer.up(layer.mlp_norm(x))))
            yield
            x = x + fed()
        return self._head(self._norm(picked(x, rows, self._rows)), wide=True)[: len(rows)]
