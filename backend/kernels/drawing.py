"""Tokens of a step drawn where the logits are: tokens alone come to the host, and rows that want log-probabilities."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.bare_draws import proposes
from lampc.backend.errors import BackendError
from lampc.backend.job import Drawn
from lampc.backend.kernels.edits import edit_rows
from lampc.backend.kernels.paged import launching
from lampc.backend.kernels.sampling import SamplingRows, SamplingSpace, sample
from lampc.backend.kernels.token_masks import mask_logits
from lampc.backend.kernels.uniform import key_tensor
from lampc.backend.plan import Want
from lampc.backend.random_keys import retry_key
from lampc.backend.sampler import TRIES, Draw, drawing_of, with_logprobs
from lampc.backend.staging import Arriving, upload


class DeviceSampler:
    """The rules of `lampc.backend.sampler` for one engine, by the kernels of `lampc.backend.kernels.sampling`."""

    def __init__(self) -> None:
        self._space: SamplingSpace | None = None

    def resolve(self, wants: Sequence[Want], logits: torch.Tensor) -> "Drawing":
        """As `lampc.backend.sampler.resolve`, with float32 logits [rows, vocab] on their device, once it is waited for.

        The logits may be overwritten by what is launched later.
        """
        drawing, rows, draws = drawing_of(wants)
        wanting = [number for number, want in enumerate(wants) if want.job.wants_logprobs]
        ends = np.cumsum([len(want.rows) for want in wants])
        index = [row for number in wanting for row in range(ends[number] - len(wants[number].rows), ends[number])]
        some = logits[upload(np.array(index, np.int64), logits.device)] if index else logits[:0]
        return Drawing(wants, drawing, self._draw(logits, rows, draws), wanting, some)

    def _draw(self, logits: torch.Tensor, rows: Sequence[int], draws: Sequence[Draw | None]) -> torch.Tensor:
        device, vocab = logits.device, logits.shape[1]
        if not rows:
            return torch.zeros(0, dtype=torch.int64, device=device)
        banned = [(i, token) for i, draw in enumerate(draws) if draw for token in draw.banned if token < vocab]
        masked = {i: draw.mask for i, draw in enumerate(draws) if draw and draw.mask is not None}
        edits = {i: draw.edits for i, draw in enumerate(draws) if draw and draw.edits is not None}
        if banned or masked or edits or len(rows) < len(logits):
            logits = logits[upload(np.array(rows, np.int64), device)]
        if edits:
            edit_rows(logits, edits)
        if banned:
            places, ids = upload(np.array(banned, np.int64).T.copy(), device)
            logits[places, ids] = -torch.inf
        if self._space is None or self._space.rows < len(rows) or self._space.vocab != vocab:
            self._space = SamplingSpace(2 * len(rows), vocab, device)
        index = np.full(len(rows), -1, np.int32)
        index[list(masked)] = range(len(masked))
        free = [i for i in masked if (one := draws[i]) and one.edits is None and proposes(one.sampling)]
        if not masked:
            return self._sample(logits, SamplingRows.of(draws, device))
        masks = upload(np.stack(list(masked.values())), device)
        if not free:
            mask_logits(logits, masks, upload(index, device))
            return self._sample(logits, SamplingRows.of(draws, device))
        return self._kept(logits, draws, masks, index, free)

    def _kept(
        self,
        logits: torch.Tensor,
        draws: Sequence[Draw | None],
        masks: torch.Tensor,
        index: NDArray[np.int32],
        free: Sequence[int],
    ) -> torch.Tensor:
        """By the rule of `lampc.backend.sampler` for masks [m, words]: index[i] is the row's, -1 if it has none, `free`
        are rows whose first draws are made without. All draws are made: to ask for one would be to wait."""
        device = logits.device
        firm, rest = index.copy(), np.full(len(index), -1, np.int32)
        firm[free], rest[free] = -1, index[free]
        mask_logits(logits, masks, upload(firm, device))
        which = upload(rest.astype(np.int64), device)
        words, rows = masks[which.clamp(min=0)], SamplingRows.of(draws, device)
        tokens, kept = self._sample(logits, rows), which < 0
        for at, keys in enumerate(_retry_keys(draws, set(free), device)):
            known = tokens.clamp(0, 32 * masks.shape[1] - 1).unsqueeze(1)
            bits = words.gather(1, known >> 5) >> (known & 31).int()
            kept |= (tokens == known[:, 0]) & (bits[:, 0] & 1).bool()
            if at + 1 < TRIES:  # what was drawn is not drawn again
                drawn = tokens.clamp(min=0).unsqueeze(1)
                gone = tokens.unsqueeze(1) >= 0
                logits.scatter_(1, drawn, logits.gather(1, drawn).masked_fill_(gone, -torch.inf))
            else:
                mask_logits(logits, masks, upload(rest, device))
            tokens = torch.where(kept, tokens, self._sample(logits, rows._replace(keys=keys)))
        return tokens

    def _sample(self, logits: torch.Tensor, rows: SamplingRows) -> torch.Tensor:
        assert self._space is not None
        with launching(logits):
            return sample(logits.contiguous(), rows, self._space)


def _retry_keys(draws: Sequence[Draw | None], free: Collection[int], device: torch.device) -> torch.Tensor:
    """Keys of the draws that follow the first one, int64 [TRIES, rows]; those of rows that are not `free` stay."""
    keys = [0 if one is None else one.key for one in draws]
    found = []
    for _ in range(TRIES):
        keys = [retry_key(key) if i in free else key for i, key in enumerate(keys)]
        found.append(key_tensor(keys).numpy())
    return upload(np.stack(found), device)


class Drawing:
    """What a step draws, on its way to the host. `tokens`, int64 on the device, -1 where there was nothing to draw
    from; that of want i is tokens[places[i]], none if places[i] is -1."""

    def __init__(
        self,
        wants: Sequence[Want],
        drawing: Sequence[int],
        tokens: torch.Tensor,
        wanting: Sequence[int],
        logits: torch.Tensor,
    ) -> None:
        self.tokens = tokens
        self.places: NDArray[np.int64] = np.full(len(wants), -1)
        self.places[drawing] = np.arange(len(drawing))
        self._wants, self._drawing, self._wanting = wants, drawing, wanting
        self._arriving = Arriving(tokens, logits) if wanting else Arriving(tokens)

    def get(self) -> list[Drawn]:
        """Waits. Raises BackendError if a row that is drawn from holds NaN or nothing finite."""
        here, *logits = self._arriving.get()
        found: list[int] = here.tolist()
        if found and min(found) < 0:
            raise BackendError(
                "no token can be drawn: logits are not finite; check the weights, and whether the request's options "
                "forbid everything"
            )
        wants, wanting = self._wants, self._wanting
        tokens: list[int | None] = [None] * len(wants)
        for number, token in zip(self._drawing, found, strict=True):
            tokens[number] = token
        if not wanting:
            return [Drawn(token) for token in tokens]
        some = with_logprobs([wants[i] for i in wanting], logits[0].numpy(), [tokens[i] for i in wanting])
        by_want = dict(zip(wanting, some, strict=True))
        return [by_want[number] if number in by_want else Drawn(token) for number, token in enumerate(tokens)]
