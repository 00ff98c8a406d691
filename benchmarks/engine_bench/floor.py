"""The least time that a workload can take on a machine: the larger of FLOPs over GEMM rate and bytes over read rate.

Counted is what any engine must do that gives these tokens one after another: each token once through the matrices (a
shared prefix once for all), the vocabulary only where a token is drawn, attention over what stands before; weights
read once for each token that follows another, K and V once for each step (those of a shared prefix once for all).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine_bench.workloads import Workload


@dataclass(frozen=True)
class Shape:
    """Of a Llama-like model; `matrices` are the parameters of one layer's matrices."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int

    @staticmethod
    def of(config: Mapping[str, Any]) -> Shape:
        """From config.json."""
        heads = config["num_attention_heads"]
        return Shape(
            hidden=config["hidden_size"],
            inner=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config["num_key_value_heads"],
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            vocab=config["vocab_size"],
        )

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the matrices of a layer."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        projections = [(self.hidden, q), (self.hidden, kv), (self.hidden, kv), (q, self.hidden)]
        return [*projections, (self.hidden, self.inner), (self.hidden, self.inner), (self.inner, self.hidden)]

    @property
    def body(self) -> int:
        """Parameters of all layers' matrices."""
        return self.layers * sum(k * n for k, n in self.matrices)

    @property
    def head(self) -> int:
        """Parameters of the matrix that gives logits."""
        return self.hidden * self.vocab


def flops(shape: Shape, work: Workload) -> float:
    """Multiplications and additions, two for each pair."""
    spans = [(0, work.shared)] if work.shared else []
    spans += [(work.shared, len(item.prompt) + item.out - 1) for item in work.items]
    tokens = sum(end - start for start, end in spans)
    seen = sum((end * (end + 1) - start * (start + 1)) // 2 for start, end in spans)  # keys over all queries
    attention = 4 * shape.layers * shape.heads * shape.head_dim * seen
    return float(2 * shape.body * tokens + 2 * shape.head * work.tokens_out + attention)


def read_bytes(shape: Shape, work: Workload, itemsize: int) -> float:
    """Bytes of weights and KV cache; `itemsize` of a number."""
    steps = max(item.out for item in work.items)
    per_token = 2 * shape.layers * shape.kv_heads * shape.head_dim * itemsize
    kv = 0
    for step in range(1, steps):
        live = [item for item in work.items if item.out > step]
        own = sum(len(item.prompt) + step - work.shared for item in live)
        kv += per_token * (own + (work.shared if live else 0))
    return float(steps * itemsize * (shape.body + shape.head) + kv)


def seconds(shape: Shape, work: Workload, itemsize: int, gflops: float, gb_s: float) -> float:
    """The floor; rates in 1e9 per second."""
    return max(flops(shape, work) / gflops, read_bytes(shape, work, itemsize) / gb_s) / 1e9
