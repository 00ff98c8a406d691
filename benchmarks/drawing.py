"""Drawing tokens on the CPU: our kernel against numpy, row by row, for vocabularies and filters.

    python benchmarks/drawing.py [--threads 1] [--rows 16] [--rounds 15]

Logits are normal with a deviation of 3, about as peaked as a language model's. Both draw the same tokens, or this says
so and ends with code 1. `log-probabilities` are those of one token of each row and of the four likeliest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from _common import append, in_turns, machine, seconds
from numpy.typing import NDArray

from lampc.backend.native import shared_library
from lampc.backend.native.drawing import native_kernel
from lampc.backend.request import Sampling
from lampc.backend.sampler import NUMPY, Draw, Kernel, log_probs

VOCABULARIES = (2_880, 32_000, 151_936)
SAMPLINGS = {
    "temperature": Sampling(0.7),
    "min_p": Sampling(1.0, min_p=0.05),
    "top_p": Sampling(0.7, top_p=0.9),
    "top_k": Sampling(1.0, top_k=50),
    "wide top_p": Sampling(1.5, top_p=0.999),
}


def main() -> int:
    """Measures, prints, appends."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    kernels = {"numpy": NUMPY, "kernel": native_kernel(shared_library.load())}
    found: list[dict[str, Any]] = []
    for vocab in VOCABULARIES:
        logits = np.random.default_rng(0).normal(0, 3, (args.rows, vocab)).astype(np.float32)
        for name, work in works(logits).items():
            times = in_turns({who: partial(seconds, partial(work, k)) for who, k in kernels.items()}, args.rounds)
            least = {who: 1e6 * min(some) / args.rows for who, some in times.items()}
            ratio, same = least["numpy"] / least["kernel"], work(kernels["numpy"]) == work(kernels["kernel"])
            told = f"{least['numpy']:9.1f} -> {least['kernel']:7.1f} us a row, {ratio:4.1f} times as fast"
            print(f"{vocab:8,} ids  {name:18} {told}{'' if same else ', NOT the same'}", flush=True)
            found.append({"vocab": vocab, "what": name, "us_per_row": least, "ratio": ratio, "same": same})
    append(
        "drawing", {"machine": machine("torch", "numpy"), "threads": args.threads, "rows": args.rows, "found": found}
    )
    return int(not all(one["same"] for one in found))


def works(logits: NDArray[np.float32]) -> dict[str, Callable[[Kernel], Any]]:
    """What is timed: tokens drawn from all rows, and which are likeliest, by a kernel."""
    rows = range(len(logits))
    draws: dict[str, list[Draw | None]] = {
        name: [Draw(sampling, key, 0) for key in rows] for name, sampling in SAMPLINGS.items()
    }

    def drawn(some: list[Draw | None], kernel: Kernel) -> list[int]:
        return kernel.draw(logits, some)

    tokens, tops = logits.argmax(1).tolist(), [4] * len(logits)

    def log_probabilities(kernel: Kernel) -> list[list[int]]:
        _, best = log_probs(logits, tokens, tops, kernel)
        return [[token for token, _ in row] for row in best]

    return {**{name: partial(drawn, some) for name, some in draws.items()}, "log-probabilities": log_probabilities}


def _arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
