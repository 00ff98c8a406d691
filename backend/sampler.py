"""From logits to tokens: greedy, temperature, top-k, top-p, with counter-based random numbers.

All of it is numpy on one row in float64, so a draw depends on the row's bits, the key and the index alone.
"""

import math

import numpy as np
from numpy.typing import NDArray

from lampc.backend.errors import BackendError
from lampc.backend.job import Drawn
from lampc.backend.request import Sampling
from lampc.backend.scheduler import Want

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom generators, 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def uniform(key: int, index: int) -> float:
    """A number in [0, 1) for generated token `index` of the stream `key`; integers only, so it is portable."""
    return (mix((mix(key) + (index + 1) * _GOLDEN) & _MASK) >> 11) * 2.0**-53


def draw(logits: NDArray[np.float32], sampling: Sampling, key: int, index: int, banned: frozenset[int]) -> int:
    """A token id from one row of logits [vocab]. Raises BackendError if the row holds NaN or nothing else."""
    if banned:
        logits = logits.copy()
        logits[[i for i in banned if i < len(logits)]] = -np.inf
    best = int(np.argmax(logits))  # the first of equals; NaN counts as largest
    if not math.isfinite(logits[best]):
        raise BackendError(f"the model's logits are not finite (largest is {logits[best]}); check the weights")
    if sampling.temperature == 0.0:
        return best
    with np.errstate(over="ignore", under="ignore"):
        scaled = (logits.astype(np.float64) - float(logits[best])) / sampling.temperature
        weights = np.exp(scaled)
    u = uniform(key, index)
    if sampling.top_k or sampling.top_p < 1.0:
        order = np.argsort(-scaled, kind="stable")
        if sampling.top_k:
            order = order[: sampling.top_k]
        sums = np.cumsum(weights[order])
        if sampling.top_p < 1.0:
            kept = int(np.searchsorted(sums, sampling.top_p * sums[-1])) + 1
            sums = sums[: min(kept, len(sums))]
        return int(order[_pick(sums, u)])
    return _pick(np.cumsum(weights), u)


def _pick(sums: NDArray[np.float64], u: float) -> int:
    # Rounding may put u * total at the very end, where trailing zero weights must not be picked.
    at = int(np.searchsorted(sums, u * sums[-1], side="right"))
    return min(at, int(np.searchsorted(sums, sums[-1])))


def log_prob(logits: NDArray[np.float32], token: int) -> float:
    """ln p(token) under softmax of one row of logits [vocab]."""
    wide = logits.astype(np.float64)
    top = wide.max()
    return float(wide[token] - top - np.log(np.exp(wide - top).sum()))


def resolve(want: Want, logits: NDArray[np.float32]) -> Drawn:
    """Logprobs of the known next tokens and, after the last known one, a draw. `logits` is [rows, vocab]."""
    job = want.job
    logprobs: list[float] = []
    if job.wants_logprobs:
        known = job.follow[want.start + 1 : want.start + 1 + len(logits)]
        logprobs += [log_prob(row, following) for row, following in zip(logits, known, strict=False)]
    token: int | None = None
    if job.draws and want.start + len(logits) == len(job.ids):
        output = job.output
        token = draw(logits[-1], job.request.sampling, job.request.key, len(output.tokens), output.banned)
        if job.wants_logprobs:
            logprobs.append(log_prob(logits[-1], token))
    return Drawn(token, tuple(logprobs))
