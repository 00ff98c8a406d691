"""Text whose sharing is known: equal seeds give equal words, different seeds share nothing.

Words are drawn from Zipf's law (exponent 1.1). The first two are drawn evenly and name the seed, so that two texts of
different seeds part at their first word or, with a probability below one in a thousand, at their second.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

EXPONENT = 1.1
SPREAD = 0.6
"""Sigma of lognormal lengths."""


class Codes(Protocol):
    """A tokenizer, as far as it is needed here."""

    @property
    def vocab_size(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int], skip_special: bool = True) -> str: ...


def generator(*seed: object) -> random.Random:
    """Random numbers that hang on every part of the seed, the same on every machine."""
    text = "\x1f".join(map(str, seed))
    return random.Random(hashlib.blake2b(text.encode(), digest_size=16).digest())


def about(mean: float, draw: random.Random, least: int = 1) -> int:
    """A length around `mean`: lognormal, at most four times as much."""
    drawn = mean * draw.lognormvariate(-SPREAD * SPREAD / 2, SPREAD)
    return max(least, round(min(drawn, 4 * mean)))


class Words:
    """Words that are one token each wherever they follow a space."""

    def __init__(self, words: Sequence[str]) -> None:
        if len(words) < 64:
            raise ValueError(f"{len(words)} words are too few for texts that share nothing; give at least 64")
        self.words = list(words)
        random.Random(0).shuffle(self.words)
        weights = [1.0 / (rank + 1) ** EXPONENT for rank in range(len(words))]
        self._sums = list(itertools.accumulate(weights))

    @staticmethod
    def of(tokenizer: Codes) -> Words:
        """The words of letters alone that the tokenizer has with a space before them."""
        found = []
        for number in range(tokenizer.vocab_size):
            text = tokenizer.decode([number])
            word = text[1:]
            if text[:1] == " " and word.isascii() and word.isalpha() and word.islower() and len(word) > 1:
                found.append(word)
        return Words([w for w in sorted(set(found)) if len(tokenizer.encode(f" {w}")) == 1])

    @staticmethod
    @functools.cache
    def bundled() -> Words:
        """Those of the bundled model."""
        from lampc.backend.tokenizer import Tokenizer
        from lampc.runtime.pool import firefly_folder

        return Words.of(Tokenizer.load(Path(firefly_folder())))

    def text(self, count: int, *seed: object) -> str:
        """`count` words (at least two) of this seed."""
        draw = generator("text", *seed)
        first = [draw.choice(self.words) for _ in range(2)]
        top = self._sums[-1]
        rest = [self.words[bisect.bisect(self._sums, draw.random() * top)] for _ in range(count - 2)]
        return " ".join(first + rest)


def zipf(count: int, draw: random.Random, exponent: float = EXPONENT) -> int:
    """A rank below `count`, low ones the most often."""
    return draw.choices(range(count), weights=[1.0 / (i + 1) ** exponent for i in range(count)])[0]
