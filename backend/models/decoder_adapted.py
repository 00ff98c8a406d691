"""A decoder's layers where some rows of a pass may be for adapters: these go product by product, so that adapters can
add to each; the others by the native kernels for whole layers, to the same bits as where no adapter is loaded.

Both halves of a pass attend together, over weights that are packed once.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import torch

from lampc.backend.models.decoder_torch import TorchLayers
from lampc.backend.models.experts import MlpWeights
from lampc.backend.models.layers import Attend
from lampc.backend.native.decoder import NativeLayers
from lampc.backend.native.linear import Memory
from lampc.backend.native.products import NativeProducts
from lampc.backend.native.shared_library import Library

if TYPE_CHECKING:
    from lampc.backend.models.decoder_config import DecoderConfig
    from lampc.backend.models.decoder_weights import DecoderWeights, LayerWeights
    from lampc.backend.models.lora import Adapters
    from lampc.backend.models.rows import Rows


class Half(Protocol):
    """A pass (`lampc.backend.models.decoder.Pass`) whose layers can be taken one by one."""

    def queries(self, layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q [M, heads, D], k and v [M, kv_heads, D]."""
        ...

    def through(self, attend: Attend) -> None: ...
    def finish(self, layer: int, mixed: torch.Tensor) -> None: ...
    def logits(self, rows: torch.Tensor) -> torch.Tensor: ...
    def likeliest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...
    def likeliest_and_logits(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]: ...


class AdaptedLayers:
    """See `lampc.backend.models.decoder.Layers`."""

    def __init__(
        self,
        config: "DecoderConfig",
        weights: "DecoderWeights",
        library: Library,
        memory: Memory,
        rows: "Rows",
        adapters: "Adapters",
    ) -> None:
        norms: list[LayerWeights] = []

        def read() -> Iterator["LayerWeights"]:
            for layer in weights.layers:
                norms.append(_norms(layer))
                yield layer

        self._adapters, self._layers = adapters, config.layers
        self._whole = NativeLayers(config, weights._replace(layers=read()), library, memory, rows.int8)
        products = NativeProducts(config, self._whole, library)
        self._parts = TorchLayers(config, weights._replace(layers=norms), rows, adapters, products)

    def start(self, ids: torch.Tensor, positions: torch.Tensor) -> Half:
        """Begins a pass of ids and positions [M]."""
        adapted = self._adapters.rows()
        if adapted is None:
            return self._whole.start(ids, positions)
        if len(adapted) == len(ids):
            return self._parts.start(ids, positions)
        self._adapters.within(adapted)
        mine = torch.zeros(len(ids), dtype=torch.bool)
        mine[adapted] = True
        plain = (~mine).nonzero().squeeze(1)
        halves = (
            (plain, self._whole.start(ids[plain], positions[plain])),
            (adapted, self._parts.start(ids[adapted], positions[adapted])),
        )
        return _TwoHalves(halves, mine, self._layers)


class _TwoHalves:
    """A pass of M rows in two, each with its rows, int64 and in order. `second` [M]: whether a row is of the second."""

    def __init__(
        self, halves: tuple[tuple[torch.Tensor, Half], tuple[torch.Tensor, Half]], second: torch.Tensor, layers: int
    ) -> None:
        self._halves, self._second, self._layers = halves, second, layers
        self._places = torch.where(second, second.cumsum(0), (~second).cumsum(0)) - 1

    def queries(self, layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q [M, heads, D], k and v [M, kv_heads, D]."""
        (first, a), (second, b) = ((rows, half.queries(layer)) for rows, half in self._halves)
        q, k, v = (_merged(len(self._second), first, x, second, y) for x, y in zip(a, b, strict=True))
        return q, k, v

    def through(self, attend: Attend) -> None:
        """All layers."""
        for i in range(self._layers):
            self.finish(i, attend(i, *self.queries(i)))

    def finish(self, layer: int, mixed: torch.Tensor) -> None:
        """The rest of the layer after attention, `mixed` [M, heads, D]."""
        for rows, half in self._halves:
            half.finish(layer, mixed[rows])

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [n, vocab] of rows [n]."""
        return self._joined(rows, lambda half, some: (half.logits(some),))[0]

    def likeliest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows [n] the id of the largest logit, int64 [n], and that logit, float32 [n]."""
        ids, tops = self._joined(rows, lambda half, some: half.likeliest(some))
        return ids, tops

    def likeliest_and_logits(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same, and the logits, float32 [n, vocab]."""
        ids, tops, logits = self._joined(rows, lambda half, some: half.likeliest_and_logits(some))
        return ids, tops, logits

    def _joined(self, rows: torch.Tensor, of: "_Of") -> tuple[torch.Tensor, ...]:
        """What each half gives of those of its rows that are among rows [n], in their order."""
        second, places = self._second[rows], self._places[rows]
        if not second.any():
            return of(self._halves[0][1], places)
        if second.all():
            return of(self._halves[1][1], places)
        at, more = (~second).nonzero().squeeze(1), second.nonzero().squeeze(1)
        one, other = of(self._halves[0][1], places[at]), of(self._halves[1][1], places[more])
        return tuple(_merged(len(rows), at, x, more, y) for x, y in zip(one, other, strict=True))


class _Of(Protocol):
    def __call__(self, half: Half, rows: torch.Tensor, /) -> tuple[torch.Tensor, ...]: ...


def _merged(count: int, first: torch.Tensor, x: torch.Tensor, second: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Rows x at places `first`, and y at places `second`, of `count`."""
    out = x.new_empty(count, *x.shape[1:])
    out[first], out[second] = x, y
    return out


def _norms(layer: "LayerWeights") -> "LayerWeights":
    """What stays of a layer's weights when its projections are packed."""
    nothing = torch.empty(0), None
    return layer._replace(qkv=nothing, o=nothing, mlp=MlpWeights(nothing, nothing))
