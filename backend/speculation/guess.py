"""What one request has shown of how well its tokens can be guessed."""

import math
from collections.abc import Sequence

from lampc.backend.speculation.ngram import NgramIndex

_RIGHT, _TRIED = 1.0, 1.5
"""As if so many of so many guesses had been right before the first."""
_KEPT = 0.8
"""What earlier drafts count for after another one."""
_FRUITLESS = 8
"""Steps in a row without a draft, after which no guess is looked for some time."""
_SHORTEST, _QUIET, _LONGEST = 16, 64, 512
"""Steps of such a time: twice as many each time, until a draft was worth its rows; so many at most where there was
nothing to guess, and where guesses were wrong or cost too much."""
_WORTH = 16
"""One in so many tokens of such a time must have been there to be guessed, for guesses to be looked for again."""


class Guess:
    """Guesses for one request: their source, how often they were right, and when it is worth looking for some."""

    __slots__ = ("_fruitless", "_pause", "_right", "_trial", "_tried", "awake", "index")

    def __init__(self, index: NgramIndex) -> None:
        self.index = index
        self.awake = True
        self._right, self._tried = _RIGHT, _TRIED
        self._pause = _SHORTEST
        self._fruitless = 0
        self._trial = False  # the next draft is to show what rows cost now

    @property
    def chance(self) -> float:
        """That a guess is right if all before it in its draft are; above 0 and below 1."""
        return self._right / self._tried

    def length(self, ratio: float, most: int) -> int:
        """The length of a draft that pays, up to `most`: its last guess is right by more than `ratio`, which is what a
        row costs over what a token is worth."""
        if ratio <= 0.0:
            return most
        chance, least = self.chance, min(most, 2 * self._trial)
        return least if chance <= ratio else max(least, min(most, int(math.log(ratio) / math.log(chance))))

    def heard(self, right: int, length: int) -> None:
        """Of a draft so many guesses were right, up to the first that was not."""
        self._right = _KEPT * (self._right - _RIGHT) + right + _RIGHT
        self._tried = _KEPT * (self._tried - _TRIED) + right + (right < length) + _TRIED
        self._fruitless, self._trial = 0, False
        if 2 * right >= length:
            self._pause = _SHORTEST

    def nothing(self) -> bool:
        """There was nothing to guess in a step; whether it should sleep now."""
        self._fruitless += 1
        return self._fruitless >= _FRUITLESS

    def sleep(self, step: int, wrong: bool = False) -> int:
        """It sleeps from now on, since guesses did not pay or there were none; gives the step at which `wakes` is to be
        asked."""
        self.awake, self._fruitless, pause = False, 0, self._pause
        if wrong or pause < _QUIET:
            self._pause = min(_LONGEST, 2 * pause)
        return step + (pause if wrong else min(pause, _QUIET))

    def wakes(self, ids: Sequence[int]) -> bool:
        """Whether it may guess again: whether enough of what was written while it slept, which `ids` now show, was
        there to be guessed."""
        before = self.index.upto
        tried, right = self.index.replay(ids)
        self._tried, self._right = _TRIED + tried, _RIGHT + right
        self.awake = self._trial = _WORTH * right >= len(ids) - before
        self._fruitless = _FRUITLESS // 2
        return self.awake
