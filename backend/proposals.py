"""Tokens drawn from logits as they are; grammars are asked then, and those that refuse have theirs drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lampc.backend.bare_draws import draws_of
from lampc.backend.sampler import TRIES, Kernel, check_finite

if TYPE_CHECKING:
    from lampc.backend.drawing import Drawing
    from lampc.backend.grammar.matcher import Words
    from lampc.backend.plan import Plan


def drawn_bare(kernel: Kernel, plan: Plan, logits: NDArray[np.float32]) -> list[int]:
    """A token for each want of a `bare` plan, whose logits are [wants, vocab], by the rules of `lampc.backend.sampler`.

    Raises BackendError if a row holds NaN or nothing finite, or a grammar fails.
    """
    draws, positions = draws_of(plan)
    tokens, *more = kernel.draw_bare(logits, draws, positions, TRIES if plan.proposes else 1)
    odd = [i for i, token in enumerate(tokens) if token < 0] if min(tokens) < 0 else []
    refused = dict(plan.refused(tokens, odd))
    if odd := [i for i in odd if i not in refused]:
        check_finite(logits[odd].max(axis=1, initial=-np.inf))
    for others in more:
        for i in [i for i, job in refused.items() if _takes(job, others[i])]:
            tokens[i] = others[i]
            del refused[i]
    if refused:
        rows, masks = [*refused], [_mask(job) for job in refused.values()]
        for i, token in zip(rows, kernel.draw_under(logits, draws, positions, rows, masks), strict=True):
            tokens[i] = token
    return tokens


def _takes(job: Drawing, token: int) -> bool:
    """Whether a job's grammar takes what is proposed to it, -1 for nothing."""
    return token >= 0 and job.matcher is not None and job.matcher.offer(token)


def _mask(job: Drawing) -> Words:
    mask = job.mask()
    assert mask is not None
    return mask
