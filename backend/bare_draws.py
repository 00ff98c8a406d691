"""Draws from rows of logits as they are: no penalties, nothing banned, no log-probabilities wanted.

Nearly all draws are of this kind. What they need is known when a request comes, but for the place of the token: so it
stays in arrays from step to step, and nothing is made for a draw.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lampc.backend.request import Sampling

if TYPE_CHECKING:
    from lampc.backend.plan import Plan

BARE = np.dtype(
    [
        *((name, np.float64) for name in ("temperature", "top_p", "min_p")),
        *(("top_k", np.int64), ("key", np.uint64), ("prompt", np.int64)),
    ]
)
"""`Bare` of `drawing.cpp`: a request's sampling, its key, and how many tokens its prompt has."""

Draws = NDArray[Any]
"""Of dtype `BARE`, one for each row."""
Bare = tuple[float, float, float, int, int, int]
"""An item of these."""


def proposes(sampling: Sampling) -> bool:
    """Whether tokens are drawn as if there were no mask, see `lampc.backend.sampler`."""
    return sampling.temperature > 0.0 and not (sampling.top_k or sampling.min_p) and sampling.top_p == 1.0


def needs_mask(sampling: Sampling) -> bool:
    """Whether nothing can be proposed to a grammar, since filters look at what it leaves."""
    return sampling.temperature > 0.0 and not proposes(sampling)


def bare_of(sampling: Sampling, key: int, prompt: int) -> Bare:
    """How tokens of a request are drawn."""
    top_k = min(sampling.top_k, np.iinfo(np.int64).max)
    return sampling.temperature, sampling.top_p, sampling.min_p, top_k, key, prompt


def draws_of(plan: "Plan") -> tuple[Draws, NDArray[np.int64]]:
    """How the tokens of a `bare` plan's wants are drawn, in their order, and the positions whose logits they are drawn
    from, int64 [wants]."""
    count = len(plan.decoding)
    mine = plan.lanes.draws[:count]
    positions = np.zeros(0, np.int64) if plan.places is None else plan.places[0]
    others = plan.other_wants
    if not others:
        return mine, positions
    more = np.array([want.job.owner.bare for want in others], BARE)
    return np.concatenate([mine, more]), np.concatenate([positions, [want.start for want in others]])
