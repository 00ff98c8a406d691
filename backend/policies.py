"""Who goes first: the order in which requests are admitted and compute their prompts.

| policy     | first is                                                                                        |
|------------|-------------------------------------------------------------------------------------------------|
| `priority` | who has the higher priority, and of these who came first: with equal priorities that is `fcfs`  |
| `fcfs`     | who came first, whatever the priorities                                                         |
| `deadline` | who can wait the least: deadline minus the time it will take; then those without, by priority   |
| `prefix`   | who continues the prefix that ran last: depth-first through the tree of all prompts that wait   |
| `warm`     | what most requests hang on, depth-first; once blocks run short: whose prompt is cached furthest |

Whatever the policy, the scheduler lets at most a fixed number of later requests pass one that waits, and generation
goes on in every step. A policy is asked for ranks: tuples, smallest first, which stay as they are while a request
waits. The scheduler ranks those whose patience is at its end before all others.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from lampc.backend.forecast import Lengths
from lampc.backend.job import Job

LOOK = 16
"""How many requests `warm` compares, twice."""
Rank = tuple[Any, ...]
"""Starts with 1 (0 is for those who waited long enough) and ends with the request's number."""


class Policy:
    """First come, first served; and what others may override."""

    def __init__(self, lengths: Lengths, tokens_per_step: int) -> None:
        self._lengths = lengths
        self._tokens_per_step = tokens_per_step
        self.cached: Callable[[Job], int] | None = None
        """How many tokens of a request's prompt are cached now; None as long as no block was taken from the cache."""

    def rank(self, job: Job) -> Rank:
        """Place of a request among those that wait, or compute their prompts."""
        return (1, job.handle.id)

    def next(self, waiting: Sequence[Job]) -> int:
        """Which of those that wait, in order of their ranks, is to be admitted next."""
        return 0

    def admitted(self, job: Job) -> None:
        """A request left the line for the engine."""
        return None

    def keep(self, job: Job) -> float:
        """How much it matters that a request is not preempted; between equals, the cost decides."""
        return 0.0

    def level(self, job: Job) -> int:
        """What is above what: a higher one takes the place of a lower one where no more may run, and while it runs the
        prompts of lower ones yield. Ranks are in the order of levels, the highest first."""
        return 0

    def spent(self, job: Job, waiting: Sequence[Job]) -> int | None:
        """From which position on nobody who waits needs the tokens of a request that ends; None if not known."""
        return None

    def observe(self, step_s: float) -> bool:
        """A step took this long, in seconds; True if ranks are to be made anew."""
        return False


class Priority(Policy):
    """The higher priority first; ties in order of arrival."""

    def rank(self, job: Job) -> Rank:
        """See `Policy.rank`."""
        return (1, -job.request.priority, job.handle.id)

    def keep(self, job: Job) -> float:
        """See `Policy.keep`."""
        return job.request.priority

    def level(self, job: Job) -> int:
        """See `Policy.level`."""
        return job.request.priority


class Deadline(Policy):
    """Least slack first: the deadline minus the time that the request will need, at the speed of late steps."""

    _step_s = 0.0
    _used_s = 0.0  # what the ranks were made with

    def rank(self, job: Job) -> Rank:
        """See `Policy.rank`."""
        return (1, self._latest_start(job), -job.request.priority, job.handle.id)

    def keep(self, job: Job) -> float:
        """See `Policy.keep`: who can wait gives way."""
        return -self._latest_start(job)

    def observe(self, step_s: float) -> bool:
        """See `Policy.observe`: ranks follow when steps get a quarter slower or faster."""
        self._step_s += (step_s - self._step_s) * (0.1 if self._step_s else 1.0)
        if 0.8 * self._used_s <= self._step_s <= 1.25 * self._used_s:
            return False
        self._used_s = self._step_s
        return True

    def _latest_start(self, job: Job) -> float:
        deadline = job.request.deadline
        if deadline is None:
            return float("inf")
        prompt = -(-(len(job.ids) - job.watermark) // self._tokens_per_step)
        steps = prompt + self._lengths.expected(job) - len(job.output.tokens)
        return deadline - steps * self._used_s


class Prefix(Policy):
    """Depth-first through the tree of prompts, which is their order as sequences: a sweep that starts over at its end.

    Members of one prefix run together. What none of those that wait shares with a request that ends is the first
    to go when blocks run short; what they share stays before their eyes.
    """

    _last: Rank = ()

    def rank(self, job: Job) -> Rank:
        """See `Policy.rank`: who was preempted comes first, its prefix is still warm."""
        return (1, not job.preempted, _ordered(job.request.ids), job.handle.id)

    def next(self, waiting: Sequence[Job]) -> int:
        """See `Policy.next`."""
        first = waiting[0].rank
        if not (first[0] and first[1]):
            return 0
        at = bisect_right(waiting, self._last, key=_rank)
        return 0 if at == len(waiting) else at

    def admitted(self, job: Job) -> None:
        """See `Policy.admitted`."""
        if job.rank[0]:
            self._last = job.rank

    def spent(self, job: Job, waiting: Sequence[Job]) -> int | None:
        """See `Policy.spent`: neighbours in the order share the most."""
        ids = job.request.ids
        at = bisect_left(waiting, (1, True, _ordered(ids)), key=_rank)
        return max((_common(ids, other.request.ids) for other in waiting[max(0, at - 1) : at + 1]), default=0)


class Warm(Prefix):
    """For programs whose later requests come while others wait: a prompt that goes on from one that just ended is taken
    while that is cached.

    As long as everything fits, those go first from which most requests follow one another, so that the longest path
    through a program is begun early (Graham, "Bounds on multiprocessing timing anomalies", 1969); of equal depths
    depth-first through the tree. Then all go depth-first, so that what was begun ends: of the next `LOOK` in that order
    and the first `LOOK` in all (those that were preempted are among them) the one goes first that is cached the
    furthest. What nobody who waits needs may be needed by who is still to come, so it is not thrown away before its
    time.
    """

    _short = False  # whether blocks have run short

    def rank(self, job: Job) -> Rank:
        """See `Policy.rank`."""
        depth = 0 if self._short else -job.request.depth
        return (1, not job.preempted, depth, _ordered(job.request.ids), job.handle.id)

    def observe(self, step_s: float) -> bool:
        """See `Policy.observe`."""
        turned = self.cached is not None and not self._short
        self._short = self._short or turned
        return turned

    def next(self, waiting: Sequence[Job]) -> int:
        """See `Policy.next`."""
        at, cached = super().next(waiting), self.cached
        if at and waiting[at].rank[2] != waiting[0].rank[2]:
            at = 0  # the sweep through the deepest ones starts over
        if cached is None or len(waiting) == 1:
            return at
        near = ((at + i) % len(waiting) for i in range(min(LOOK, len(waiting))))
        places: list[int] = list(dict.fromkeys([*near, *range(min(LOOK, len(waiting)))]))
        return max(places, key=lambda place: cached(waiting[place]))  # the first of those that tie

    def spent(self, job: Job, waiting: Sequence[Job]) -> int | None:
        """See `Policy.spent`."""
        return None


def _rank(job: Job) -> Rank:
    return job.rank


def _ordered(ids: Sequence[int]) -> bytes:
    """Ids as bytes that compare as they do, many times as fast: ranks are compared often, and prompts begin alike."""
    made = array("I", ids)
    if sys.byteorder == "little":
        made.byteswap()
    return made.tobytes()


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    end = min(len(a), len(b))
    if a[:end] == b[:end]:
        return end
    return next(i for i in range(end) if a[i] != b[i])


POLICIES: dict[str, type[Policy]] = {
    "priority": Priority,
    "fcfs": Policy,
    "deadline": Deadline,
    "prefix": Prefix,
    "warm": Warm,
}


def make_policy(name: str, lengths: Lengths, tokens_per_step: int) -> Policy:
    """The policy of that name. Raises ValueError."""
    if name not in POLICIES:
        raise ValueError(f"policy is {name!r}; choose one of {', '.join(POLICIES)}")
    return POLICIES[name](lengths, tokens_per_step)
