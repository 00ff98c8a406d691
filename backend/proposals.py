"""Tokens drawn from logits as they are; grammars are asked then, and those that refuse have theirs drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lampc.backend.bare_draws import draws_of, needs_mask, proposes
from lampc.backend.random_keys import second_key
from lampc.backend.sampler import Draw, Kernel, check_finite

if TYPE_CHECKING:
    from lampc.backend.plan import Plan


def drawn_bare(kernel: Kernel, plan: Plan, logits: NDArray[np.float32]) -> list[int]:
    """A token for each want of a `bare` plan, whose logits are [wants, vocab], by the rules of `lampc.backend.sampler`.

    Raises BackendError if a row holds NaN or nothing finite, or a grammar fails.
    """
    draws, positions = draws_of(plan)
    tokens = kernel.draw_bare(logits, draws, positions)
    refused: dict[int, Draw] = {}
    for i, job, matcher in plan.constrained():
        sampling, key = job.request.sampling, job.request.key
        if tokens[i] < 0 or needs_mask(sampling) or not matcher.offer(tokens[i]):
            key = second_key(key) if proposes(sampling) else key
            refused[i] = Draw(sampling, key, int(positions[i]) + 1 - job.prompt_len, mask=job.mask())
    if min(tokens) < 0:
        odd = [i for i, token in enumerate(tokens) if token < 0 and i not in refused]
        check_finite(logits[odd].max(axis=1, initial=-np.inf))
    if refused:
        again = kernel.draw(logits[[*refused]], [*refused.values()])
        for i, token in zip(refused, again, strict=True):
            tokens[i] = token
    return tokens
