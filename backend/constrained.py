"""Greedy steps under grammars on the CPU: of each row the likeliest token that its grammar takes."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.drawing import Drawing
from lampc.backend.models.layers import Attend
from lampc.backend.models.registry import Model, greedy
from lampc.backend.plan import Plan
from lampc.backend.sampler import check_finite, forbid, resolve
from lampc.backend.speculation.verify import verify

_TRIES = 8
Inputs = tuple[torch.Tensor, torch.Tensor, Attend, torch.Tensor]


class Constrained:
    """What draws in such steps: masks are made only where none of the likeliest tokens may stand there.

    Mostly the first may, which kernels find beside the logits. Where it may not, the next ones are looked for in these.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._greedy: Any = greedy(model)
        if not hasattr(self._greedy, "likeliest_and_logits"):
            self._greedy = None

    def tokens(self, plan: Plan, inputs: Inputs) -> list[int]:
        """A token for each want of a plan that is `greedy`; `inputs` are those of the model.

        Raises BackendError if none that may be drawn is finite, or a grammar fails.
        """
        if self._greedy is None:
            logits = self._model.forward(*inputs)
            values, ids = logits.max(1)  # the first of equals; NaN counts as largest
        else:
            ids, values, logits = self._greedy.likeliest_and_logits(*inputs)
        if plan.drafts:
            wanted = len(ids) - sum(len(draft.tokens) for draft in plan.drafts)
            ids, values = ids[:wanted], values[:wanted]
        tokens: list[int] = ids.tolist()
        tops: list[float] = values.tolist()
        if math.isfinite(sum(tops)):
            odd: list[int] = []
            denied = [(i, job) for i, job, matcher in plan.constrained() if not matcher.offer(tokens[i])]
        else:  # of those with a grammar another token may do
            odd = [i for i, top in enumerate(tops) if not math.isfinite(top)]
            denied = [(i, job) for i, job, matcher in plan.constrained() if i in odd or not matcher.offer(tokens[i])]
            theirs = {i for i, _ in denied}
            check_finite(np.array([top for i, top in enumerate(tops) if i not in theirs], np.float32))
        if denied:
            written = logits.numpy()
            for i, job in denied:
                tokens[i] = _likeliest(job, written[i], tokens[i], i in odd)
        if plan.drafts:
            verify(plan, logits[len(tokens) :].numpy(), tokens, resolve)
        return tokens


def _likeliest(job: Drawing, row: NDArray[np.float32], token: int, odd: bool) -> int:
    """The likeliest token of logits [vocab], which are changed, that the job's grammar takes.

    `token`, the likeliest of all, it does not take, unless that is `odd`. Mostly one of the next few is it: to ask for
    those costs less than a mask.
    """
    assert job.matcher is not None
    for _ in range(0 if odd else _TRIES):
        row[token] = -np.inf
        token = int(row.argmax())
        if not math.isfinite(row[token]):
            break
        if job.matcher.offer(token):
            return token
    mask = job.mask()
    assert mask is not None
    forbid(row, mask)
    token = int(row.argmax())
    check_finite(row[token : token + 1])
    return token
