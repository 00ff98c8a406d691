"""What a request's options do to its logits before anything is drawn: bias, penalties, processors, forbidden tokens.

With logits z, float32, of the place after `prompt` and `output`, in this order:

1. `logit_bias`: z_i + b_i.
2. `repetition_penalty` r (Keskar et al. 2019, CTRL): of each token of prompt or output z_i r if z_i < 0, else z_i / r.
3. `frequency_penalty` f, `presence_penalty` p (OpenAI's API): of each token of the output, where it stands c_i times,
   z_i - f c_i - p.
4. `logits_processors`, one after the other.
5. Tokens outside of `allowed_ids`, and the last token of each sequence of `bad_ids` whose others stand at the end of
   prompt and output: -inf.

Everything follows from the request and its own tokens: not from neighbours, and whoever runs it again after a
preemption gets the same bits. All operations are single roundings in float32, so that CPU (`edit`) and
GPU (`lampc.backend.kernels.edits`) agree to the bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lampc.backend.errors import BackendError
from lampc.backend.shaping_options import LogitsProcessor

Words = NDArray[np.int32]
Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Edits:
    """Steps 1 to 4 for one row: `bias` of `bias_ids`; penalties of `ids`, which stand `counts` times in the output.

    The arrays are good until the request's next token.
    """

    bias_ids: NDArray[np.int64]
    bias: Row
    ids: NDArray[np.int64]
    counts: Row
    repetition: np.float32
    frequency: np.float32
    presence: np.float32
    processors: tuple[LogitsProcessor, ...] = ()
    prompt: tuple[int, ...] = ()
    output: tuple[int, ...] = ()


class Shaper:
    """The options of one request, and how often it wrote which token. `sampling` is a `Sampling` that is `shaped`."""

    __slots__ = ("_allowed", "_bias", "_counts", "_edited", "_ids", "_places", "_prompt", "_sampling", "_seen", "grows")

    def __init__(self, sampling: Any, prompt: tuple[int, ...], vocab: int) -> None:
        s = self._sampling = sampling
        self._prompt = prompt
        penalised = s.repetition_penalty != 1 or s.frequency_penalty or s.presence_penalty
        self._edited = bool(penalised or s.logit_bias or s.logits_processors)
        # Whether all tokens so far must be known to say how the next one is drawn.
        self.grows = bool(penalised or s.logits_processors) or any(len(word) > 1 for word in s.bad_ids)
        self._bias = (
            np.array([token for token, _ in s.logit_bias], np.int64),
            np.array([value for _, value in s.logit_bias], np.float32),
        )
        self._allowed: Words | None = None
        if s.allowed_ids is not None:
            flags = np.zeros(-(-vocab // 32) * 32, np.bool_)
            flags[list(s.allowed_ids)] = True
            self._allowed = np.packbits(flags, bitorder="little").view(np.int32)
        self._places: dict[int, int] = {}
        self._ids: NDArray[np.int64] = np.zeros(64, np.int64)
        self._counts: Row = np.zeros(64, np.float32)
        self._seen = -1  # tokens of the output that are counted; below 0: count again

    def edits(self, output: Sequence[int]) -> Edits | None:
        """What is done to the logits after `output`, which begins with what it was at earlier calls; None: nothing."""
        if not self._edited:
            return None
        s, count = self._sampling, 0
        if self.grows:
            # The first time, or an interrupt came while it counted, or it counted for a step that did not happen.
            if not 0 <= self._seen <= len(output):
                self._restart()
            seen, self._seen = self._seen, -1
            for token in output[seen:]:
                place = self._place(token)
                self._counts[place] += 1
            self._seen, count = len(output), len(self._places)
        processed = (self._prompt, tuple(output)) if s.logits_processors else ((), ())
        return Edits(
            *self._bias,
            self._ids[:count],
            self._counts[:count],
            np.float32(s.repetition_penalty),
            np.float32(s.frequency_penalty),
            np.float32(s.presence_penalty),
            s.logits_processors,
            *processed,
        )

    def bad(self, output: Sequence[int]) -> frozenset[int]:
        """Tokens that would complete one of `bad_ids`."""
        return frozenset(word[-1] for word in self._sampling.bad_ids if self._ends_with(output, word[:-1]))

    def narrowed(
        self, output: Sequence[int], mask: Words | None, banned: frozenset[int]
    ) -> tuple[Words | None, frozenset[int]]:
        """A grammar's mask, or none and `banned` ids, with what is forbidden here.

        Where that would leave nothing of what a grammar takes, the grammar goes before it, as it does with tokens that
        it forces.
        """
        bad = self.bad(output) if self._sampling.bad_ids else frozenset()
        if mask is None:
            return self._allowed, banned | bad
        narrow = mask.copy() if self._allowed is None else mask & self._allowed
        bits = narrow.view(np.uint32)
        for token in bad:
            bits[token >> 5] &= np.uint32(0xFFFFFFFF ^ (1 << (token & 31)))
        return (narrow if narrow.any() else mask), banned

    def _ends_with(self, output: Sequence[int], end: tuple[int, ...]) -> bool:
        size, here = len(end), len(output)
        if size <= here:
            return tuple(output[here - size :]) == end
        split = size - here
        return tuple(output) == end[split:] and split <= len(self._prompt) and self._prompt[-split:] == end[:split]

    def _restart(self) -> None:
        self._places.clear()
        self._counts[:] = 0
        if self._sampling.repetition_penalty != 1:
            for token in self._prompt:
                self._place(token)
        self._seen = 0

    def _place(self, token: int) -> int:
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._ids):
            self._ids, self._counts = (np.concatenate([x, np.zeros_like(x)]) for x in (self._ids, self._counts))
        self._ids[place] = token
        return place


def edit(row: Row, edits: Edits) -> None:
    """Changes logits [vocab]. Raises BackendError if a processor gives something else."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found when a token is drawn
        row[edits.bias_ids] += edits.bias
        if len(edits.ids):
            z = row[edits.ids]
            z = np.where(z < 0, z * edits.repetition, z / edits.repetition)
            z -= edits.frequency * edits.counts
            z -= edits.presence * (edits.counts > 0)
            row[edits.ids] = z
    process(row, edits)


def process(row: Row, edits: Edits) -> None:
    """Step 4 on logits [vocab], in place."""
    for processor in edits.processors:
        given = processor(edits.prompt, edits.output, row)
        if given is None or given is row:
            continue
        found = np.asarray(given, np.float32)
        if found.shape != row.shape:
            raise BackendError(f"a logits processor gave values {found.shape}; it was given logits {row.shape}")
        row[:] = found
