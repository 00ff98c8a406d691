"""Rate limits that a client keeps by itself: requests and tokens a minute, as token buckets.

There are those of the user's configuration, and those that an endpoint tells of in the headers of its answers.
"""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lampc.runtime.providers.rules import limit_headers


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


class Told:
    """What an endpoint says is left of one of its limits: `limit` units at most, `remaining` of them now, all of them
    back in `reset` seconds. What is taken meanwhile is counted here."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limit = self._level = self._rate = 0.0
        self._at = clock()

    def heard(self, limit: float, remaining: float, reset: float, under_way: int) -> None:
        """Headers of an answer. What it does not count yet stays taken: at first all `under_way`, as nobody knows."""
        first = not self._limit
        self._fill()
        self._limit = limit
        self._level = max(0.0, remaining - under_way) if first else min(self._level, remaining)
        self._rate = (limit - remaining) / reset if reset > 0 and remaining < limit else limit / 60.0

    def wait(self, units: float) -> float:
        """Seconds until so many units are there; for more than the whole limit, until all of it is."""
        if not self._limit:
            return 0.0
        self._fill()
        return max(0.0, min(units, self._limit) - self._level) / self._rate

    def take(self, units: float) -> None:
        """Units that a call takes; negative ones come back."""
        self._fill()
        self._level = min(self._limit, self._level - units)

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._limit, self._level + (now - self._at) * self._rate)
        self._at = now


class RateLimit:
    """The limits of one endpoint. `requests` and `tokens` are per minute; 0 for none but what the endpoint tells."""

    def __init__(self, requests: float = 0, tokens: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = Bucket(requests, burst=1.0 + requests / 60.0, clock=clock) if requests else None
        self._tokens = Bucket(tokens, clock=clock) if tokens else None
        self._clock = clock
        self._told: dict[str, Told] = {}
        self.under_way = 0  # calls that were sent and not answered

    def __bool__(self) -> bool:
        return self._requests is not None or self._tokens is not None or bool(self._told)

    def wait(self, tokens: int = 0) -> float:
        """Seconds until the next call, of about so many tokens, may go out."""
        waits = [b.wait() for b in (self._requests, self._tokens) if b is not None]
        waits += [told.wait(1 if unit == "requests" else tokens) for unit, told in self._told.items()]
        return max(waits, default=0.0)

    def take(self, tokens: int) -> None:
        """A call goes out, of about so many tokens."""
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)
        for unit, told in self._told.items():
            told.take(1 if unit == "requests" else tokens)

    def correct(self, expected: int, found: int) -> None:
        """What a call really took."""
        if not (expected and found):
            return
        if self._tokens is not None:
            self._tokens.give_back(expected - found)
        if "tokens" in self._told:
            self._told["tokens"].take(found - expected)

    def heard(self, headers: Mapping[str, str]) -> None:
        """The headers of an answer, in which an endpoint may tell of its limits."""
        for names in limit_headers():
            for unit in ("requests", "tokens"):
                limit = _number(headers.get(names.limit.format(unit)))
                remaining = _number(headers.get(names.remaining.format(unit)))
                if limit is None or remaining is None or limit <= 0 or remaining < 0:
                    continue  # not told, or told as -1: endpoints that do not know it themselves
                told = self._told.get(unit)
                if told is None:
                    told = self._told[unit] = Told(self._clock)
                reset = seconds(headers.get(names.reset.format(unit), "")) or 0.0
                others = max(0, self.under_way - 1) if unit == "requests" else 0
                told.heard(limit, min(remaining, limit), reset, others)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float | None:
    """A time to wait: `6m0s`, `12ms`, `30` (seconds), or a moment as RFC 3339 has it. None for what is none of them."""
    text = text.strip()
    if text and _DURATION.sub("", text) == "":
        return sum(float(n) * _SECONDS[unit] for n, unit in _DURATION.findall(text))
    if (number := _number(text)) is not None and 0 <= number < 1e8:
        return number
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - time.time())


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
