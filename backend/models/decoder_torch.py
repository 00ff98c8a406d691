"""A decoder's layers in torch; attention stays the caller's."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lampc.backend.models.experts import Experts, Feed, MlpWeights
from lampc.backend.models.layers import Attend, Linear, Mlp, picked, rms_norm, rotate
from lampc.backend.models.rows import Rows

if TYPE_CHECKING:
    from lampc.backend.models.decoder import DecoderConfig, DecoderWeights, LayerWeights


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor
    qkv: Linear
    qk_norm: torch.Tensor | None
    o: Linear
    mlp_norm: torch.Tensor
    feed: Feed


class TorchLayers:
    """See `lampc.backend.models.decoder.Layers`."""

    def __init__(self, config: "DecoderConfig", weights: "DecoderWeights", rows: Rows) -> None:
        self.config = config
        self.rows = rows
        self.embed = weights.embed
        self.layers = [
            _Layer(w.norm, Linear(*w.qkv, rows), w.qk_norm, Linear(*w.o, rows), w.mlp_norm, _feed(w, rows))
            for w in weights.layers
        ]
        self.norm = weights.norm
        self.head = Linear(*weights.head, rows)
        self.cos, self.sin = weights.cos, weights.sin

    def start(self, ids: torch.Tensor, positions: torch.Tensor) -> "_TorchPass":
        """Begins a pass of ids and positions [M]."""
        dtype = self.embed.dtype
        cos, sin = (table[positions].unsqueeze(1).to(dtype) for table in (self.cos, self.sin))
        return _TorchPass(self, self.embed[ids], cos, sin)


@dataclass(slots=True)
class _TorchPass:
    """See `lampc.backend.models.decoder.Pass`. x [M, hidden]; cos and sin [M, 1, D / 2]."""

    of: TorchLayers
    x: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor

    def queries(self, layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q [M, heads, D], k and v [M, kv_heads, D]."""
        c, w = self.of.config, self.of.layers[layer]
        split = c.heads + c.kv_heads
        heads = w.qkv(rms_norm(self.x, w.norm, c.norm_eps)).view(len(self.x), split + c.kv_heads, c.head_dim)
        qk = heads[:, :split]
        if w.qk_norm is not None:
            qk = rms_norm(qk, w.qk_norm, c.norm_eps)
        qk = rotate(qk, self.cos, self.sin)
        return qk[:, : c.heads], qk[:, c.heads :], heads[:, split:]

    def attended(self, layer: int, attend: Attend) -> torch.Tensor:
        """[M, heads, D]."""
        return attend(layer, *self.queries(layer))

    def finish(self, layer: int, mixed: torch.Tensor) -> None:
        """The rest of the layer after attention, `mixed` [M, heads, D]."""
        c, w = self.of.config, self.of.layers[layer]
        x = self.x + w.o(mixed.reshape(len(self.x), -1))
        self.x = x + w.feed(rms_norm(x, w.mlp_norm, c.norm_eps))

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [n, vocab] of rows [n]."""
        last = rms_norm(picked(self.x, rows, self.of.rows), self.of.norm, self.of.config.norm_eps)
        return self.of.head(last)[: len(rows)].float()

    def likeliest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows [n] the id of the largest logit, int64 [n], and that logit, float32 [n]."""
        logits = self.logits(rows)
        ids = torch.from_numpy(logits.cpu().numpy().argmax(1)).to(logits.device)  # torch's need not be the first
        return ids, logits.gather(1, ids.unsqueeze(1)).squeeze(1)


def _feed(layer: "LayerWeights", rows: Rows) -> Feed:
    def mlp(weights: MlpWeights) -> Mlp:
        return Mlp(Linear(*weights.gate_up, rows), Linear(*weights.down, rows))

    w = layer.mlp
    if isinstance(w, MlpWeights):
        return mlp(w)
    return Experts(w.mixture, Linear(w.router, None, rows, rounded=False), [mlp(one) for one in w.experts])
