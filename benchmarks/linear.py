"""Linear layers on the CPU: our kernel, `F.linear` and oneDNN's packed weights, side by side, shape by shape.

    python benchmarks/linear.py [--threads 2] [--dtype bfloat16] [--rows 1,4,16,64,256] [--rounds 5]

The shapes are those of a Qwen2.5-0.5B with 32,000 ids. Each measurement runs through so many copies of a weight that no
cache holds them, as a model's layers do. Few rows are bound by memory: GB/s of weights, against what reading alone
reaches. Many are bound by arithmetic: GFLOP/s. "int8" is our kernel with weights of eight bits: other numbers, and
its GB/s are of its own bytes. With one thread time is that thread's CPU time, so that other programs
disturb less; with more it is wall time. Beside them stands what a forward pass costs in Python.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from _common import append, in_turns, machine

from lampc.backend.models import packing
from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.decoder_weights import DecoderWeights, LayerWeights
from lampc.backend.models.experts import MlpWeights
from lampc.backend.models.rope import Rope
from lampc.backend.native import shared_library
from lampc.backend.native.decoder import NativeLayers
from lampc.backend.native.linear import Memory, NativeLinear

SHAPES = {
    "qkv": (1152, 896),
    "o": (896, 896),
    "gate_up": (9728, 896),
    "down": (896, 4864),
    "head": (32000, 896),
}
COLD = 96 << 20
"""Bytes of weights per measurement: several times the last cache."""


def timed(work: Callable[[], Any], threads: int) -> float:
    clock = time.thread_time if threads == 1 else time.perf_counter
    begun = clock()
    work()
    return clock() - begun


def read_rate(memory: Memory, threads: int) -> float:
    """Bytes per second of reading alone, the best of a few: a sum over memory in large pages."""
    data = memory.take(COLD // 2).zero_()  # int32: twice as much as weights
    return 4 * len(data) / min(timed(lambda: data.view(torch.float32).sum(), threads) for _ in range(12))


def rivals(name: str, dtype: torch.dtype, memory: Memory) -> dict[str, list[Callable[[torch.Tensor], torch.Tensor]]]:
    """By name, the copies of one layer."""
    n, k = SHAPES[name]
    copies, more = -(-COLD // (n * k * dtype.itemsize)), -(-COLD // (n * k))
    kernels = shared_library.load()
    noise = torch.Generator().manual_seed(0)
    weights = [(torch.randn(n, k, generator=noise) / k**0.5).to(dtype) for _ in range(copies)]

    def plain(w: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: torch.nn.functional.linear(x, w)

    def packed(w: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        p = packing.pack(w)
        return lambda x: packing.product(x, p, None)

    out: dict[str, list[Callable[[torch.Tensor], torch.Tensor]]] = {
        "ours": [NativeLinear(kernels, w, None, memory) for w in weights],
        "int8": [NativeLinear(kernels, weights[i % copies], None, memory, int8=True) for i in range(more)],
        "F.linear": [plain(w) for w in weights],
    }
    if packing.supported("cpu", dtype):
        out["oneDNN packed"] = [packed(w) for w in weights]
    return out


def overhead(memory: Memory, layers: int = 24) -> float:
    """Seconds that a forward pass takes beside its kernels and attention: one of no rows, in which they do nothing."""
    config = DecoderConfig(64, 64, 64, layers, 2, 1, 32, 1e-6, Rope("default", torch.ones(16), 1.0, 8), (None,), True)
    one, square = torch.ones(64), (torch.ones(64, 64), None)
    wide = torch.ones(128, 64), None
    layer = LayerWeights(one, wide, None, square, one, MlpWeights(wide, square))
    weights = DecoderWeights(square[0], [layer] * layers, one, square, *config.rope.tables(one.device))
    model = NativeLayers(config, weights, shared_library.load(), memory)
    none = torch.empty(0, dtype=torch.int64)

    def forward() -> None:
        run = model.start(none, none)
        for i in range(layers):
            run.finish(i, run.queries(i)[0])
        run.logits(none)

    return min(timed(forward, 1) for _ in range(300))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of linear layers.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--rows", default="1,2,4,8,16,32,64,256,512")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype, memory, about = getattr(torch, args.dtype), Memory(shared_library.load()), machine("torch")
    rate = read_rate(memory, args.threads)
    print(f"{about['processor']}, {args.threads} threads, {args.dtype}, load {about['load']}")
    idle = overhead(memory)
    print(f"reading memory: {rate / 1e9:.1f} GB/s; Python's part of a pass of 24 layers: {idle * 1e3:.2f} ms")
    table: dict[str, dict[str, float]] = {}
    for name in args.shapes.split(","):
        n, k = SHAPES[name]
        layers = rivals(name, dtype, memory)
        for rows in map(int, args.rows.split(",")):
            x = torch.randn(rows, k).to(dtype)
            used = max(1, int(3e11 / (2 * n * k * rows)))

            def run(copies: list[Callable[[torch.Tensor], torch.Tensor]], x: torch.Tensor = x) -> Callable[[], float]:
                return lambda: timed(lambda: [layer(x) for layer in copies], args.threads) / len(copies)

            times = in_turns({kind: run(copies[:used]) for kind, copies in layers.items()}, args.rounds)
            best = {kind: min(figures) for kind, figures in times.items()}
            flops, size = 2 * n * k * rows, dict.fromkeys(best, n * k * dtype.itemsize) | {"int8": n * k}
            cells = [
                f"{kind} {flops / s / 1e9:5.0f} GFLOP/s {size[kind] / s / 1e9:5.1f} GB/s" for kind, s in best.items()
            ]
            rest, int8 = min(s for kind, s in best.items() if kind not in ("ours", "int8")), best["ours"] / best["int8"]
            print(f"{name:<8} M={rows:<4} {' | '.join(cells)} | {rest / best['ours']:.2f}x | int8 {int8:.2f}x")
            row = {kind: round(s * 1e6, 1) for kind, s in best.items()}
            table[f"{name} {rows}"] = {**row, "over_best_other": round(rest / best["ours"], 3), "int8": round(int8, 3)}
    result = {"machine": about, "threads": args.threads, "dtype": args.dtype, "read_gb_s": round(rate / 1e9, 2)}
    more = {"python_ms": round(idle * 1e3, 3), "microseconds": table}
    print(f"appended to {append('linear', {**result, **more})}")


if __name__ == "__main__":
    main()
