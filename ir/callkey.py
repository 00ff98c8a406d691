"""The identity of one model call: what journals, caches and random numbers are keyed by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from lampc.ir.content import Key, Sampling
from lampc.ir.penalties import told_penalties


@dataclass(frozen=True, slots=True)
class Draw:
    """Where the randomness of a call comes from; never from arrival order, never from a trial's number.

    `seed` of the program, the static `key` of the call (callers first), the indices of enclosing maps and
    loops from the outside in, the row's id and the sample's number.
    """

    seed: int
    key: Key
    indices: tuple[int, ...] = ()
    row: str = ""
    sample: int = 0

    def bits(self) -> int:
        """64 bits that depend on every part (BLAKE2b)."""
        text = json.dumps([self.seed, self.key.path, self.indices, self.row, self.sample])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class CallKey:
    """What a finished call is stored under: model, mode, prompt and how tokens are drawn.

    Greedy calls of equal prompts are equal whatever their draw, so `draw` is 0 for them.
    """

    model: str
    mode: str
    prompt: str
    sampling: Sampling
    draw: int

    @staticmethod
    def of(model: str, mode: str, prompt: str, sampling: Sampling, draw: Draw) -> CallKey:
        return CallKey(model, mode, prompt, sampling, 0 if sampling.temperature == 0.0 else draw.bits())

    def digest(self) -> str:
        """32 hexadecimal digits (BLAKE2b-128) over all parts."""
        s = self.sampling
        parts: list[Any] = [self.model, self.mode, self.prompt, self.draw]
        parts += [s.temperature, s.top_k, s.top_p, s.max_tokens, list(s.stop)]
        if told := told_penalties(s):  # keys of calls without any stay what they were
            parts.append(told)
        return hashlib.blake2b(json.dumps(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
