"""Products of an 8 B model's layers in exact mode, beside torch's own of all rows and torch's in tiles of 16 rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from gpu_bench.timing import seconds
from lampc.backend.kernels.linear import Tile, agreeing, chosen, linear
from lampc.backend.models.rows import TILE

SHAPES = {"qkv": (6144, 4096), "o": (4096, 4096), "gate_up": (28672, 4096), "down": (4096, 14336)}
"""Outputs and values along K."""
_CACHE = 1 << 28  # bytes that no cache of a device holds


def products(
    device: torch.device, dtype: torch.dtype, rows: Sequence[int], rates: tuple[float, float], small: bool
) -> dict[str, Any]:
    """By layer and rows: seconds of ours, of each of its tiles, of torch's, and of torch's in tiles; the floor is by
    `rates` of copying, bytes per second, and of products, FLOPs per second."""
    tiles = agreeing(device, dtype)
    found: dict[str, Any] = {"tiles that agree": [f"{t.rows} x {t.outputs}" for t in tiles]}
    for name, (n, k) in SHAPES.items():
        n, k = (64, 128) if small else (n, k)
        size = n * k * dtype.itemsize
        weights = [torch.randn(n, k, device=device).to(dtype) for _ in range(1 if small else 1 + _CACHE // size)]
        for m in rows:
            x = torch.randn(m, k, device=device).to(dtype)
            floor = max((size + m * (n + k) * dtype.itemsize) / rates[0], 2 * m * n * k / rates[1])
            best = chosen(m, n, tiles)
            each = {f"{t.rows} x {t.outputs}": _time(partial(_ours, x, t), weights) for t in tiles}
            ours = each[f"{best.rows} x {best.outputs}"]
            found[f"{name}, {m} rows"] = {
                "tile": f"{best.rows} x {best.outputs}",
                "seconds": ours,
                "share_of_floor": floor / ours,
                "torch_s": _time(partial(functional.linear, x), weights),
                "torch_in_tiles_s": _time(partial(_in_tiles, x), weights),
                "each_s": each,
            }
    return found


def _ours(x: torch.Tensor, tile: Tile, weight: torch.Tensor) -> torch.Tensor:
    return linear(x, weight, None, tile)


def _in_tiles(x: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    return [functional.linear(part, weight) for part in torch.split(x, TILE)]


def _time(work: Callable[[torch.Tensor], Any], weights: Sequence[torch.Tensor]) -> float:
    """Seconds of one product, on weights in turn, so that none is in a cache."""

    def all_of_them() -> None:
        for weight in weights:
            work(weight)

    return seconds(all_of_them, weights[0].device, repeat=2) / len(weights)
