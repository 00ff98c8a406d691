"""A decoder's layers by the kernels of this folder: norms with the residual, rotation with the writing of K/V, gates.

Large products are those of torch, in exact mode of `linear.py`; those with weights of eight bits are `int8_gemv.py`'s,
those of experts `grouped.py`'s. Beside them a layer is four launches and attention: norm, rotation, norm, gate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lampc.backend.int8 import encode
from lampc.backend.kernels.checks import aligned
from lampc.backend.kernels.experts import GroupedExperts
from lampc.backend.kernels.gated import gated
from lampc.backend.kernels.int8_gemv import Int8Weight, int8_gemv
from lampc.backend.kernels.linear import product_of
from lampc.backend.kernels.norm import rms_norm
from lampc.backend.kernels.paged import Attending, launching
from lampc.backend.kernels.rope_write import Rotation
from lampc.backend.kernels.sampling import likeliest
from lampc.backend.models.checkpoint import Projection
from lampc.backend.models.experts import Feed, MlpWeights
from lampc.backend.models.layers import Attend, Linear, picked, scaled, soft_cap
from lampc.backend.models.rows import Rows

if TYPE_CHECKING:
    from lampc.backend.models.decoder_config import DecoderConfig
    from lampc.backend.models.decoder_weights import DecoderWeights, LayerWeights

Product = Callable[[torch.Tensor], torch.Tensor]
_LEAST = 16  # values along K that int8_gemv takes


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor | None
    qkv: Product
    joint: tuple[torch.Tensor, torch.Tensor] | None  # weights of queries, and of keys, that are normalised whole
    rotation: Rotation
    o: Product
    after_norm: torch.Tensor | None
    mlp_norm: torch.Tensor | None
    feed: Feed
    after_mlp_norm: torch.Tensor | None


class TritonLayers:
    """See `lampc.backend.models.decoder.Layers`; its passes want the attention of `lampc.backend.kernels.paged`."""

    def __init__(self, config: "DecoderConfig", weights: "DecoderWeights", rows: Rows) -> None:
        self.config = config
        self.rows = rows
        self.embed = weights.embed
        tables = {False: (aligned(weights.cos), aligned(weights.sin))}
        if weights.local is not None:
            tables[True] = aligned(weights.local[0]), aligned(weights.local[1])
        self.layers = [self._layer(w, tables[config.is_local(i)]) for i, w in enumerate(weights.layers)]
        self.norm = aligned(weights.norm)
        self.head = _product(weights.head, rows)

    def _layer(self, w: "LayerWeights", tables: tuple[torch.Tensor, torch.Tensor]) -> _Layer:
        c, joint, by_head = self.config, None, None if w.qk_norm is None else aligned(w.qk_norm)
        if by_head is not None and c.qk_joint:
            joint, by_head = (aligned(by_head[: c.heads].flatten()), aligned(by_head[c.heads :].flatten())), None
        norms = (w.norm, w.after_norm, w.mlp_norm, w.after_mlp_norm)
        norm, after_norm, mlp_norm, after_mlp_norm = (None if x is None else aligned(x) for x in norms)
        return _Layer(
            norm=norm,
            qkv=_product(w.qkv, self.rows),
            joint=joint,
            rotation=Rotation(*tables, by_head, c.norm_eps),
            o=_product(w.o, self.rows),
            after_norm=after_norm,
            mlp_norm=mlp_norm,
            feed=_feed(c, w, self.rows),
            after_mlp_norm=after_mlp_norm,
        )

    def start(self, ids: torch.Tensor, positions: torch.Tensor) -> "_TritonPass":
        """Begins a pass of ids and positions [M]."""
        x = scaled(self.embed[ids], self.config.embed_scale)
        return _TritonPass(self, x, x, positions)


@dataclass(slots=True)
class _TritonPass:
    """See `lampc.backend.models.decoder.Pass`. The stream is `x` [M, hidden] and, not yet added to it, `more`."""

    of: TritonLayers
    x: torch.Tensor
    more: torch.Tensor
    positions: torch.Tensor
    added: bool = True  # `more` is in `x`

    def through(self, attend: Attend) -> None:
        """All layers. Raises TypeError for an attention that does not write rotated K/V by itself."""
        if not isinstance(attend, Attending):
            raise TypeError(f"layers by Triton's kernels attend by them, too, not by {type(attend).__name__}")
        for i in range(len(self.of.layers)):
            self._finish(i, self._attended(i, attend))

    def _attended(self, layer: int, attend: Attending) -> torch.Tensor:
        """[M, heads, D]."""
        w = self.of.layers[layer]
        with launching(self.x):
            qkv = w.qkv(self._normed(w.norm)).contiguous()
            if w.joint is not None:
                qkv = self._jointly(qkv, *w.joint)
            return attend.rotated(layer, qkv, self.positions, w.rotation)

    def _jointly(self, qkv: torch.Tensor, of_queries: torch.Tensor, of_keys: torch.Tensor) -> torch.Tensor:
        q, k, v = torch.split(qkv, [len(of_queries), len(of_keys), len(of_keys)], dim=1)
        eps = self.of.config.norm_eps
        return torch.cat([rms_norm(q.contiguous(), of_queries, eps), rms_norm(k.contiguous(), of_keys, eps), v], dim=1)

    def _finish(self, layer: int, mixed: torch.Tensor) -> None:
        """The rest of the layer after attention, `mixed` [M, heads, D]."""
        w = self.of.layers[layer]
        with launching(self.x):
            self._give(w.o(mixed.reshape(len(self.x), -1)), w.after_norm)
            self._give(w.feed(self._normed(w.mlp_norm)), w.after_mlp_norm)

    def _give(self, more: torch.Tensor, norm: torch.Tensor | None) -> None:
        more = more.contiguous()
        self.more = more if norm is None else rms_norm(more, norm, self.of.config.norm_eps)
        self.added = False

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [n, vocab] of rows [n]."""
        x, more = (picked(part, rows, self.of.rows) for part in (self.x, self.more))
        cap = self.of.config.logit_cap
        with launching(self.x):
            normed = rms_norm(more, self.of.norm, self.of.config.norm_eps, residual=x)
            logits = self.of.head(normed)[: len(rows)].float().contiguous()
            return logits if cap is None else soft_cap(logits, cap)

    def likeliest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows [n] the id of the largest logit, int64 [n], and that logit, float32 [n]."""
        return self.likeliest_and_logits(rows)[:2]

    def likeliest_and_logits(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same, and the logits, float32 [n, vocab]."""
        logits = self.logits(rows)
        with launching(self.x):
            return *likeliest(logits), logits

    def _normed(self, weight: torch.Tensor | None) -> torch.Tensor:
        eps, added, self.added = self.of.config.norm_eps, self.added, True
        if weight is None:
            self.x = self.x if added else self.x + self.more
            return self.x
        if added:
            return rms_norm(self.x, weight, eps)
        return rms_norm(self.more, weight, eps, residual=self.x)


def _feed(c: "DecoderConfig", layer: "LayerWeights", rows: Rows) -> Feed:
    w = layer.mlp
    if not isinstance(w, MlpWeights):
        return GroupedExperts(w, rows, c.activation)
    gate_up, down = _product(w.gate_up, rows), _product(w.down, rows)
    return lambda x: down(gated(gate_up(x).contiguous(), c.activation))


def _product(projection: Projection, rows: Rows) -> Product:
    weight, bias = projection
    if not rows.int8:
        return product_of(weight, bias, rows)
    if weight.shape[1] < _LEAST:
        return Linear(weight, bias, rows)
    codes, scales = encode(weight)
    kept = Int8Weight(aligned(codes), aligned(scales.unsqueeze(1)), bias)
    return lambda x: int8_gemv(x.contiguous(), kept)
