"""A decoder's layers by the kernels of this folder: norms with the residual, rotation with the writing of K/V, gates.

Large products stay with torch; those with weights of eight bits are `int8_gemv`'s, those of experts `grouped`'s. Beside
them a layer is four launches and attention: norm, rotation, norm, gate.
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
from lampc.backend.kernels.norm import rms_norm
from lampc.backend.kernels.paged import Attending, launching
from lampc.backend.kernels.rope_write import Rotation
from lampc.backend.kernels.sampling import likeliest
from lampc.backend.models.checkpoint import Projection
from lampc.backend.models.experts import Feed, MlpWeights
from lampc.backend.models.layers import Attend, Linear, picked
from lampc.backend.models.rows import Rows

if TYPE_CHECKING:
    from lampc.backend.models.decoder import DecoderConfig, DecoderWeights, LayerWeights

Product = Callable[[torch.Tensor], torch.Tensor]
_LEAST = 16  # values along K that int8_gemv takes


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor
    qkv: Product
    rotation: Rotation
    o: Product
    mlp_norm: torch.Tensor
    feed: Feed


class TritonLayers:
    """See `lampc.backend.models.decoder.Layers`; its passes want the attention of `lampc.backend.kernels.paged`."""

    def __init__(self, config: "DecoderConfig", weights: "DecoderWeights", rows: Rows) -> None:
        self.config = config
        self.rows = rows
        self.embed = weights.embed
        cos, sin = aligned(weights.cos), aligned(weights.sin)
        self.layers = [
            _Layer(
                norm=aligned(w.norm),
                qkv=_product(w.qkv, rows),
                rotation=Rotation(cos, sin, None if w.qk_norm is None else aligned(w.qk_norm), config.norm_eps),
                o=_product(w.o, rows),
                mlp_norm=aligned(w.mlp_norm),
                feed=_feed(w, rows),
            )
            for w in weights.layers
        ]
        self.norm = aligned(weights.norm)
        self.head = _product(weights.head, rows)

    def start(self, ids: torch.Tensor, positions: torch.Tensor) -> "_TritonPass":
        """Begins a pass of ids and positions [M]."""
        x = self.embed[ids]
        return _TritonPass(self, x, x, positions)


@dataclass(slots=True)
class _TritonPass:
    """See `lampc.backend.models.decoder.Pass`. The stream is `x` [M, hidden] and, not yet added to it, `more`."""

    of: TritonLayers
    x: torch.Tensor
    more: torch.Tensor
    positions: torch.Tensor
    added: bool = True  # `more` is in `x`

    def attended(self, layer: int, attend: Attend) -> torch.Tensor:
        """[M, heads, D]. Raises TypeError for an attention that does not write rotated K/V by itself."""
        if not isinstance(attend, Attending):
            raise TypeError(f"layers by Triton's kernels attend by them, too, not by {type(attend).__name__}")
        w = self.of.layers[layer]
        with launching(self.x):
            qkv = w.qkv(self._normed(w.norm)).contiguous()
            return attend.rotated(layer, qkv, self.positions, w.rotation)

    def finish(self, layer: int, mixed: torch.Tensor) -> None:
        """The rest of the layer after attention, `mixed` [M, heads, D]."""
        w = self.of.layers[layer]
        with launching(self.x):
            self.more, self.added = w.o(mixed.reshape(len(self.x), -1)).contiguous(), False
            self.more, self.added = w.feed(self._normed(w.mlp_norm)).contiguous(), False

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [n, vocab] of rows [n]."""
        x, more = (picked(part, rows, self.of.rows) for part in (self.x, self.more))
        with launching(self.x):
            normed = rms_norm(more, self.of.norm, self.of.config.norm_eps, residual=x)
            return self.of.head(normed)[: len(rows)].float().contiguous()

    def likeliest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows [n] the id of the largest logit, int64 [n], and that logit, float32 [n]."""
        with launching(self.x):
            return likeliest(self.logits(rows))

    def _normed(self, weight: torch.Tensor) -> torch.Tensor:
        eps, added, self.added = self.of.config.norm_eps, self.added, True
        if added:
            return rms_norm(self.x, weight, eps)
        return rms_norm(self.more, weight, eps, residual=self.x)


def _feed(layer: "LayerWeights", rows: Rows) -> Feed:
    w = layer.mlp
    if not isinstance(w, MlpWeights):
        return GroupedExperts(w, rows)
    gate_up, down = _product(w.gate_up, rows), _product(w.down, rows)
    return lambda x: down(gated(gate_up(x).contiguous(), "silu"))


def _product(projection: Projection, rows: Rows) -> Product:
    weight, bias = projection
    if not rows.int8 or weight.shape[1] < _LEAST:
        return Linear(weight, bias, rows)
    codes, scales = encode(weight)
    kept = Int8Weight(aligned(codes), aligned(scales.unsqueeze(1)), bias)
    return lambda x: int8_gemv(x.contiguous(), kept)
