"""The identity of one model call: what journals, caches and random numbers are keyed by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache

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
        told = told_penalties(s)  # keys of calls without any stay what they were
        parts = [_quoted(self.model), _quoted(self.mode), _quoted(self.prompt), str(self.draw)]
        parts.append(_drawn_by(s.temperature, s.top_k, s.top_p, s.max_tokens, s.stop))
        if told:
            parts.append(json.dumps(told))
        text = f"[{', '.join(parts)}]"
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


_quoted = json.encoder.encode_basestring_ascii


@lru_cache(maxsize=1024, typed=True)
def _drawn_by(temperature: float, top_k: int, top_p: float, max_tokens: int, stop: tuple[str, ...]) -> str:
    """The part of a key's text that most calls have in common."""
    return json.dumps([temperature, top_k, top_p, max_tokens, list(stop)])[1:-1]
