"""Tokens of a step drawn where the logits are: tokens alone come to the host, and rows that want log-probabilities."""

from collections.abc import Sequence

import numpy as np
import torch

from lampc.backend.errors import BackendError
from lampc.backend.job import Drawn
from lampc.backend.kernels.paged import launching
from lampc.backend.kernels.sampling import SamplingRows, SamplingSpace, sample
from lampc.backend.kernels.token_masks import mask_logits
from lampc.backend.plan import Want
from lampc.backend.sampler import Draw, drawing_of, with_logprobs


class DeviceSampler:
    """The rules of `lampc.backend.sampler` for one engine, by the kernels of `lampc.backend.kernels.sampling`."""

    def __init__(self) -> None:
        self._space: SamplingSpace | None = None

    def resolve(self, wants: Sequence[Want], logits: torch.Tensor) -> list[Drawn]:
        """As `lampc.backend.sampler.resolve`, with float32 logits [rows, vocab] on their device.

        Raises BackendError if a row that is drawn from holds NaN or nothing finite.
        """
        drawing, rows, draws = drawing_of(wants)
        tokens: list[int | None] = [None] * len(wants)
        for number, token in zip(drawing, self._draw(logits, rows, draws), strict=True):
            tokens[number] = token
        wanting = [number for number, want in enumerate(wants) if want.job.wants_logprobs]
        if not wanting:
            return [Drawn(token) for token in tokens]
        ends = np.cumsum([len(want.rows) for want in wants])
        some = [wants[number] for number in wanting]
        index = [row for number in wanting for row in range(ends[number] - len(wants[number].rows), ends[number])]
        there = logits[torch.tensor(index, device=logits.device)].cpu().numpy()
        found = dict(zip(wanting, with_logprobs(some, there, [tokens[number] for number in wanting]), strict=True))
        return [found[number] if number in found else Drawn(token) for number, token in enumerate(tokens)]

    def _draw(self, logits: torch.Tensor, rows: Sequence[int], draws: Sequence[Draw | None]) -> list[int]:
        if not rows:
            return []
        device, vocab = logits.device, logits.shape[1]
        banned = [(i, token) for i, draw in enumerate(draws) if draw for token in draw.banned if token < vocab]
        masked = {i: draw.mask for i, draw in enumerate(draws) if draw and draw.mask is not None}
        if banned or masked or len(rows) < len(logits):
            logits = logits[torch.tensor(rows, device=device)]
        if banned:
            places, ids = torch.tensor(banned, device=device).T
            logits[places, ids] = -torch.inf
        if masked:
            masks = torch.from_numpy(np.stack(list(masked.values())))
            index = np.full(len(rows), -1, np.int32)
            index[list(masked)] = range(len(masked))
            mask_logits(logits, masks.to(device), torch.from_numpy(index).to(device))
        if self._space is None or self._space.rows < len(rows) or self._space.vocab != vocab:
            self._space = SamplingSpace(2 * len(rows), vocab, device)
        with launching(logits):
            tokens: list[int] = sample(logits.contiguous(), SamplingRows.of(draws, device), self._space).tolist()
        if min(tokens) < 0:
            raise BackendError("the model's logits are not finite; check the weights")
        return tokens
