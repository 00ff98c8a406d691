"""Greedy steps under grammars on the CPU: of each row the likeliest token that its grammar takes."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.job import Job
from lampc.backend.models.layers import Attend
from lampc.backend.models.registry import Model, greedy
from lampc.backend.plan import Plan
from lampc.backend.sampler import check_finite, drawn, forbid, resolve
from lampc.backend.speculation.verify import verify

_TRIES = 8
Inputs = tuple[torch.Tensor, torch.Tensor, Attend, torch.Tensor]


class Constrained:
    """What draws in such steps: masks are made only where none of the likeliest tokens may stand there.

    Mostly the first may, and kernels find it without writing any logits. Where it may not, those of a few rows are
    computed again, for which all of the head is read once more. Then for some steps, until that has cost about as much,
    all logits are written at once.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._greedy: Any = greedy(model)
        if not hasattr(self._greedy, "logits_again"):
            self._greedy = None
        self._hold = model.vocab_size * model.heads * model.head_dim >> 20
        self._writing = 0  # steps to come that write logits

    def tokens(self, plan: Plan, inputs: Inputs) -> list[int]:
        """A token for each want of a plan that is `greedy`; `inputs` are those of the model.

        Raises BackendError if none that may be drawn is finite, or a grammar fails.
        """
        written = drafted = None
        if self._writing or self._greedy is None or plan.drafts:
            self._writing = max(0, self._writing - 1)
            written = self._model.forward(*inputs)
            if plan.drafts:
                at = len(written) - sum(len(draft.tokens) for draft in plan.drafts)
                written, drafted = written[:at], written[at:].numpy()
            values, ids = written.max(1)  # the first of equals; NaN counts as largest
        else:
            ids, values = self._greedy.likeliest(*inputs)
        tokens: list[int] = ids.tolist()
        tops: list[float] = values.tolist()
        odd = () if math.isfinite(sum(tops)) else [i for i, top in enumerate(tops) if not math.isfinite(top)]
        denied = []
        for i, job in plan.constrained():
            if i in odd or not job.matcher.offer(tokens[i]):  # type: ignore[union-attr]  # it has one
                denied.append((i, job))
        rows = [i for i, _ in denied]
        drawn(tokens, [top for i, top in enumerate(tops) if i not in rows] if rows else tops)  # the others may be odd
        if denied:
            if written is None:
                self._writing = self._hold
                again = self._greedy.logits_again(inputs[-1] if len(rows) == len(tokens) else inputs[-1][rows])
                logits = dict(zip(rows, again.numpy(), strict=True))
            else:
                logits = dict(enumerate(written.numpy()))
            for i, job in denied:
                tokens[i] = _likeliest(job, logits[i], tokens[i], i in odd)
        if drafted is not None:
            verify(plan, drafted, tokens, resolve)
        return tokens


def _likeliest(job: Job, row: NDArray[np.float32], token: int, odd: bool) -> int:
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
