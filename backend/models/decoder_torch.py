"""A decoder's layers in torch; attention stays the caller's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from lampc.backend.models.experts import Experts, Feed, MlpWeights
from lampc.backend.models.layers import Attend, Linear, Mlp, picked, rms_norm, rotate, scaled, soft_cap
from lampc.backend.models.rows import Rows
from lampc.backend.models.targets import Target, Targets

if TYPE_CHECKING:
    from lampc.backend.models.checkpoint import Adapting, Projection
    from lampc.backend.models.decoder_config import DecoderConfig
    from lampc.backend.models.decoder_weights import DecoderWeights, LayerWeights


Around = Callable[[Feed, Sequence[Target], int], Feed]
"""What adapters make of a product: see `lampc.backend.models.lora.Adapters.around`."""


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor | None
    qkv: Feed
    qk_norm: torch.Tensor | None
    o: Feed
    after_norm: torch.Tensor | None
    mlp_norm: torch.Tensor | None
    feed: Feed
    after_mlp_norm: torch.Tensor | None
    local: bool


class LayerProducts(NamedTuple):
    """Those of one layer; `feeds` are gate_up and down of its feed-forward part, or of each of its experts."""

    qkv: Feed
    o: Feed
    feeds: Sequence[tuple[Feed, Feed]]
    router: Feed | None = None


class Products(Protocol):
    """Where the products of layers come from."""

    def layer(self, number: int, weights: "LayerWeights") -> LayerProducts:
        """Those of one layer."""
        ...

    def head(self, weights: "Projection") -> Feed:
        """The output projection."""
        ...


@dataclass(frozen=True, slots=True)
class _Made:
    """Products with weights, by the scheme of `rows`."""

    rows: Rows

    def layer(self, number: int, weights: "LayerWeights") -> LayerProducts:
        rows, mlp = self.rows, weights.mlp
        some, router = ((mlp,), None) if isinstance(mlp, MlpWeights) else (mlp.experts, mlp.router)
        feeds = [(Linear(*m.gate_up, rows), Linear(*m.down, rows)) for m in some]
        chooses = None if router is None else Linear(router, None, rows, rounded=False)
        return LayerProducts(Linear(*weights.qkv, rows), Linear(*weights.o, rows), feeds, chooses)

    def head(self, weights: "Projection") -> Feed:
        return Linear(*weights, self.rows)


class TorchLayers:
    """See `lampc.backend.models.decoder.Layers`."""

    def __init__(
        self,
        config: "DecoderConfig",
        weights: "DecoderWeights",
        rows: Rows,
        adapters: "Adapting | None" = None,
        products: "Products | None" = None,
    ) -> None:
        """`products` are taken in the place of those that weights would give, of which only the norms count then."""
        self.config = config
        self.rows = rows
        self.embed = weights.embed
        around = _plain if adapters is None else adapters.around
        made = _Made(rows) if products is None else products
        self.layers = [self._layer(i, w, made.layer(i, w), around) for i, w in enumerate(weights.layers)]
        self.norm = weights.norm
        self.head = made.head(weights.head)
        self.tables = {False: (weights.cos, weights.sin)}
        if weights.local is not None:
            self.tables[True] = weights.local

    def _layer(self, number: int, w: "LayerWeights", products: "LayerProducts", around: Around) -> _Layer:
        c, targets, mixture = self.config, Targets(self.config, number), self.config.mixture(number)

        def mlp(gate_up: Feed, down: Feed, around: Around) -> Mlp:
            gate_up = around(gate_up, targets.gate_up, c.hidden)
            return Mlp(gate_up, around(down, targets.down, c.intermediate), c.activation)

        feed: Feed
        if mixture is None or products.router is None:
            feed = mlp(*products.feeds[0], around)
        else:
            feed = Experts(mixture, products.router, [mlp(*one, _plain) for one in products.feeds])
        return _Layer(
            norm=w.norm,
            qkv=around(products.qkv, targets.qkv, c.hidden),
            qk_norm=w.qk_norm,
            o=around(products.o, targets.o, c.heads * c.head_dim),
            after_norm=w.after_norm,
            mlp_norm=w.mlp_norm,
            feed=feed,
            after_mlp_norm=w.after_mlp_norm,
            local=c.is_local(number),
        )

    def start(self, ids: torch.Tensor, positions: torch.Tensor) -> "_TorchPass":
        """Begins a pass of ids and positions [M]."""
        dtype = self.embed.dtype
        turns = {
            local: (cos[positions].unsqueeze(1).to(dtype), sin[positions].unsqueeze(1).to(dtype))
            for local, (cos, sin) in self.tables.items()
        }
        return _TorchPass(self, scaled(self.embed[ids], self.config.embed_scale), turns)


@dataclass(slots=True)
class _TorchPass:
    """See `lampc.backend.models.decoder.Pass`. x [M, hidden]; cos and sin [M, 1, D / 2], also of local layers."""

    of: TorchLayers
    x: torch.Tensor
    turns: dict[bool, tuple[torch.Tensor, torch.Tensor]]

    def queries(self, layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q [M, heads, D], k and v [M, kv_heads, D]."""
        c, w = self.of.config, self.of.layers[layer]
        split = c.heads + c.kv_heads
        heads = w.qkv(self._normed(self.x, w.norm)).view(len(self.x), split + c.kv_heads, c.head_dim)
        qk = heads[:, :split]
        if w.qk_norm is not None and c.qk_joint:
            parts = (qk[:, : c.heads], w.qk_norm[: c.heads]), (qk[:, c.heads :], w.qk_norm[c.heads :])
            qk = torch.cat([rms_norm(x.flatten(1), by.flatten(), c.norm_eps).view(x.shape) for x, by in parts], dim=1)
        elif w.qk_norm is not None:
            qk = rms_norm(qk, w.qk_norm, c.norm_eps)
        qk = rotate(qk, *self.turns[w.local])
        return qk[:, : c.heads], qk[:, c.heads :], heads[:, split:]

    def through(self, attend: Attend) -> None:
        """All layers."""
        for i in range(len(self.of.layers)):
            self.finish(i, attend(i, *self.queries(i)))

    def finish(self, layer: int, mixed: torch.Tensor) -> None:
        """The rest of the layer after attention, `mixed` [M, heads, D]."""
        w = self.of.layers[layer]
        x = self.x + self._normed(w.o(mixed.reshape(len(self.x), -1)), w.after_norm)
        self.x = x + self._normed(w.feed(self._normed(x, w.mlp_norm)), w.after_mlp_norm)

    def _normed(self, x: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        return x if weight is None else rms_norm(x, weight, self.of.config.norm_eps)

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [n, vocab] of rows [n]."""
        last = rms_norm(picked(self.x, rows, self.of.rows), self.of.norm, self.of.config.norm_eps)
        logits, cap = self.of.head(last)[: len(rows)].float(), self.of.config.logit_cap
        return logits if cap is None else soft_cap(logits, cap)

    def likeliest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows [n] the id of the largest logit, int64 [n], and that logit, float32 [n]."""
        return self.likeliest_and_logits(rows)[:2]

    def likeliest_and_logits(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same, and the logits, float32 [n, vocab]."""
        logits = self.logits(rows)
        ids = torch.from_numpy(logits.cpu().numpy().argmax(1)).to(logits.device)  # torch's need not be the first
        return ids, logits.gather(1, ids.unsqueeze(1)).squeeze(1), logits


def _plain(product: Feed, targets: Sequence[Target], width: int) -> Feed:
    return product
