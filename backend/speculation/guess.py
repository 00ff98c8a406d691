"""What one request has shown of how well its tokens can be guessed."""

import math

from lampc.backend.speculation.ngram import NgramIndex

_RIGHT, _TRIED = 1.0, 1.5
"""As if so many of so many guesses had been right before the first."""
_KEPT = 0.8
"""What earlier drafts count for after another one."""
_FRUITLESS = 8
"""Steps in a row without a draft, after which no guess is looked for some time."""
_SHORTEST, _QUIET, _LONGEST = 16, 64, 512
"""Steps of such a time: twice as many each time, until a draft was worth its rows; so many at most where there was
nothing to guess, and where guesses were wrong."""


class Guess:
    """Guesses for one request: their source, how often they were right, and when it is worth looking for some."""

    __slots__ = ("_fruitless", "_pause", "_right", "_trial", "_tried", "awake", "index")

    def __init__(self, index: NgramIndex) -> None:
        self.index = index
        self.awake = True
        self._right, self._tried = _RIGHT, _TRIED
        self._pause = _SHORTEST
        self._fruitless = 0
        self._trial = False  # the next draft is to show how things are

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

    def sleep(self, step: int, wrong: bool) -> int:
        """It sleeps from now on, since guesses were wrong or there were none; gives the step that it wakes at."""
        self.awake, self._fruitless, pause = False, 0, self._pause
        if wrong or pause < _QUIET:
            self._pause = min(_LONGEST, 2 * pause)
        return step + (pause if wrong else min(pause, _QUIET))

    def wake(self) -> None:
        """It may guess again; what it had shown counts for little, but it has to show it soon."""
        self.awake = self._trial = True
        self._right = _RIGHT + 0.1 * (self._right - _RIGHT)
        self._tried = _TRIED + 0.1 * (self._tried - _TRIED)
        self._fruitless = _FRUITLESS // 2
