"""A layer's experts by kernels: routed, sorted, both products of all experts in a launch each; the host waits for none.

See `routing.py` and `grouped.py` for the kernels, `lampc.backend.models.experts` for what they compute.
"""

import torch

from lampc.backend.int8 import encode
from lampc.backend.kernels.gated import gated
from lampc.backend.kernels.grouped import Groups, Weights, add_chosen, grouped
from lampc.backend.kernels.linear import product_of
from lampc.backend.kernels.paged import interpreted
from lampc.backend.kernels.routing import route, sort_pairs
from lampc.backend.models.experts import ExpertWeights
from lampc.backend.models.layers import Activation
from lampc.backend.models.rows import Rows


class GroupedExperts:
    """See `lampc.backend.models.experts.Experts`: x [M, hidden] to [M, hidden]."""

    def __init__(self, weights: ExpertWeights, rows: Rows, activation: Activation = "silu") -> None:
        self._activation: Activation = activation
        self._mixture, self._exact = weights.mixture, rows.exact
        self._router = product_of(weights.router, None, rows)
        like, inner = weights.router, weights.mixture.intermediate
        count, hidden = like.shape
        self._gate_up = _room(count, 2 * inner, hidden, like, rows.int8)
        self._down = _room(count, hidden, inner, like, rows.int8)
        for i, expert in enumerate(weights.experts):  # one by one, so that none is held twice for long
            _put(self._gate_up, i, expert.gate_up[0])
            _put(self._down, i, expert.down[0])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        wide = x.dtype is torch.bfloat16 and interpreted()
        experts, shares = route(self._router(x).contiguous(), self._mixture)
        groups = Groups(*sort_pairs(experts, self._mixture.count), self._mixture.chosen)
        inner = gated(grouped(x, self._gate_up, groups, self._exact, wide=wide), self._activation)
        parts = grouped(inner, self._down, groups, self._exact, shares.view(-1), wide)
        return add_chosen(parts, self._mixture.chosen, x.dtype)


def _room(count: int, n: int, k: int, like: torch.Tensor, int8: bool) -> Weights:
    if not int8:
        return Weights(like.new_empty(count, n, k))
    return Weights(like.new_empty(count, n, k, dtype=torch.int8), like.new_empty(count, n, dtype=torch.float32))


def _put(room: Weights, expert: int, weight: torch.Tensor) -> None:
    if room.scales is None:
        room.values[expert] = weight
    else:
        room.values[expert], room.scales[expert] = encode(weight)
