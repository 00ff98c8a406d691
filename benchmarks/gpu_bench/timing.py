"""Seconds of work on a device, and what the device can do at best: the rates that other figures are shares of."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

_ROUNDS = 7


def seconds(work: Callable[[], Any], device: torch.device, repeat: int = 10) -> float:
    """Median over rounds of the mean time of `repeat` calls, after one round that does not count; by the device's own
    clock where it has one."""
    found = []
    for _ in range(1 + (_ROUNDS if device.type == "cuda" else 1)):
        if device.type == "cuda":
            begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begun.record()
            for _ in range(repeat):
                work()
            ended.record()
            ended.synchronize()
            found.append(begun.elapsed_time(ended) / 1e3 / repeat)
        else:
            begun_s = time.perf_counter()
            work()
            found.append(time.perf_counter() - begun_s)
    return float(median(found[1:]))


def copy_rate(device: torch.device, size: int) -> float:
    """Bytes per second, read and written, of a copy of `size` bytes within the device."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda: target.copy_(source), device)


def product_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """FLOPs per second of torch's product of two matrices of size * size."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, device)
