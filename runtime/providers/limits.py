"""Rate limits that a client keeps by itself: requests and tokens a minute, as a token bucket."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Bucket:
    """`per_minute` units a minute, at most `burst` of them at once (a sixth of a minute's, if not said).

    What is taken may exceed what is there: then the bucket is in debt, and the next ones wait. So a call larger than
    the bucket still goes out, and the mean holds.
    """

    def __init__(
        self, per_minute: float, burst: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if per_minute <= 0:
            raise ValueError("a rate limit must be positive; leave it out for none")
        self.rate = per_minute / 60.0
        self.size = max(1.0, per_minute / 6.0 if burst is None else burst)
        self._clock = clock
        self._level, self._at = self.size, clock()

    def wait(self) -> float:
        """Seconds until the bucket is out of debt."""
        self._fill()
        return max(0.0, -self._level / self.rate) if self._level < 0 else 0.0

    def take(self, units: float) -> None:
        self._fill()
        self._level -= units

    def give_back(self, units: float) -> None:
        """Return what was taken too much; negative units take more."""
        self._fill()
        self._level = min(self.size, self._level + units)

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self.size, self._level + (now - self._at) * self.rate)
        self._at = now


class RateLimit:
    """Both limits of one endpoint. `requests` and `tokens` are per minute; 0 for none."""

    def __init__(self, requests: float = 0, tokens: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = Bucket(requests, burst=1.0 + requests / 60.0, clock=clock) if requests else None
        self._tokens = Bucket(tokens, clock=clock) if tokens else None

    def __bool__(self) -> bool:
        return self._requests is not None or self._tokens is not None

    def wait(self) -> float:
        """Seconds until the next call may go out."""
        buckets = [b for b in (self._requests, self._tokens) if b is not None]
        return max((b.wait() for b in buckets), default=0.0)

    def take(self, tokens: int) -> None:
        """A call goes out, of about so many tokens."""
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def correct(self, expected: int, found: int) -> None:
        """What a call really took."""
        if self._tokens is not None and found:
            self._tokens.give_back(expected - found)


def expected_tokens(messages: Sequence[Mapping[str, Any]], max_tokens: int) -> int:
    """A guess before the answer is there: four characters a token, and the longest answer (512 if unbounded)."""
    size = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            size += len(content)
        elif isinstance(content, Sequence):
            size += sum(len(str(part.get("text", ""))) if isinstance(part, Mapping) else 0 for part in content)
    return size // 4 + (max_tokens or 512)
