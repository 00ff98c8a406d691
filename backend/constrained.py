"""Greedy steps under grammars on the CPU: of each row the likeliest token that its grammar takes."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.bare_draws import draws_of
from lampc.backend.drawing import Drawing
from lampc.backend.grammar.matcher import Words
from lampc.backend.models.layers import Attend
from lampc.backend.models.registry import Model, greedy
from lampc.backend.plan import Plan
from lampc.backend.sampler import TRIES, Kernel, check_finite, resolve
from lampc.backend.speculation.verify import verify

Inputs = tuple[torch.Tensor, torch.Tensor, Attend, torch.Tensor]


class Constrained:
    """What draws in such steps: masks are made only where none of the likeliest tokens may stand there.

    Mostly the first may, which kernels find beside the logits. Where it may not, the next ones are looked for in these.
    """

    def __init__(self, model: Model, kernel: Kernel) -> None:
        self._model, self._kernel = model, kernel
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
            denied = plan.refused(tokens)
        else:  # of those with a grammar another token may do
            odd = [i for i, top in enumerate(tops) if not math.isfinite(top)]
            denied = plan.refused(tokens, odd)
            theirs = {i for i, _ in denied}
            check_finite(np.array([top for i, top in enumerate(tops) if i not in theirs], np.float32))
        if denied:
            self._again(plan, logits.numpy(), tokens, denied, odd)
        if plan.drafts:
            verify(plan, logits[len(tokens) :].numpy(), tokens, resolve)
        return tokens

    def _again(
        self,
        plan: Plan,
        logits: NDArray[np.float32],
        tokens: list[int],
        denied: Sequence[tuple[int, Drawing]],
        odd: Collection[int],
    ) -> None:
        """Puts in the likeliest tokens that grammars take of rows whose likeliest of all they do not, or which are
        `odd`. Mostly one of the next is it: to ask for those costs less than a mask."""
        masks: dict[int, Words] = {}
        for i, job in denied:
            assert job.matcher is not None
            nexts = [] if i in odd else self._kernel.likeliest(logits[i], TRIES).tolist()[1:]
            for token in nexts:
                if math.isfinite(logits[i, token]) and job.matcher.offer(token):
                    tokens[i] = token
                    break
            else:
                mask = job.mask()
                assert mask is not None
                masks[i] = mask
        if masks:
            draws, positions = draws_of(plan)
            found = self._kernel.draw_under(logits, draws, positions, [*masks], [*masks.values()])
            for i, token in zip(masks, found, strict=True):
                tokens[i] = token
