"""The products of native layers one by one, over the weights that these have packed."""

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from lampc.backend.models.decoder_torch import LayerProducts
from lampc.backend.models.experts import Feed
from lampc.backend.native.decoder import GATES, CLayer, NativeLayers, _CExperts
from lampc.backend.native.linear import CMatrix, Kept, NativeLinear
from lampc.backend.native.shared_library import Library

if TYPE_CHECKING:
    from lampc.backend.models.checkpoint import Projection
    from lampc.backend.models.decoder_config import DecoderConfig
    from lampc.backend.models.decoder_weights import LayerWeights


class NativeProducts:
    """See `lampc.backend.models.decoder_torch.Products`. They live as long as the layers do."""

    def __init__(self, config: "DecoderConfig", layers: NativeLayers, library: Library) -> None:
        self._config, self._native, self._library = config, layers, library

    def layer(self, number: int, weights: "LayerWeights") -> LayerProducts:
        """Those of one layer, whose own weights are not looked at."""
        c, of = self._config, self._native._layers[number]
        heads, all_heads = c.heads * c.head_dim, (c.heads + 2 * c.kv_heads) * c.head_dim
        qkv, o = self._product(of.qkv, all_heads, c.hidden), self._product(of.o, c.hidden, heads)
        mixture = c.mixture(number)
        if mixture is None:
            return LayerProducts(qkv, o, [self._feed(of.gate_up, of.down, c.intermediate)])
        experts = self._experts(of)
        feeds = [self._feed(experts.gate_up[i], experts.down[i], mixture.intermediate) for i in range(mixture.count)]
        return LayerProducts(qkv, o, feeds, self._product(experts.router, mixture.count, c.hidden))

    def head(self, weights: "Projection") -> Feed:
        """The output projection."""
        packed = self._native._head
        return NativeLinear.of(self._library, Kept(packed.c, (packed.shape[0], packed.shape[1]), packed.dtype))

    def _product(self, matrix: CMatrix, n: int, k: int) -> NativeLinear:
        return NativeLinear.of(self._library, Kept(matrix, (n, k), self._native._dtype))

    def _feed(self, gate_up: CMatrix, down: CMatrix, inner: int) -> tuple[Feed, Feed]:
        """Gate and up stand in turns there, and inner values are padded by zeros to whole turns."""
        whole, hidden = inner + -inner % GATES, self._config.hidden
        both, back = self._product(gate_up, 2 * whole, hidden), self._product(down, hidden, whole)

        def side_by_side(x: torch.Tensor) -> torch.Tensor:
            turns = both(x).view(len(x), -1, 2, GATES).transpose(1, 2)
            return turns.reshape(len(x), 2, whole)[:, :, :inner].reshape(len(x), 2 * inner)

        return side_by_side, lambda x: back(pad(x, (0, whole - inner)) if whole > inner else x)

    @staticmethod
    def _experts(layer: CLayer) -> _CExperts:
        return _CExperts.from_address(layer.experts)
