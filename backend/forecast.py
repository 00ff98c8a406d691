"""How long requests will run, and how many blocks they take at the worst moment to come.

Requests are admitted by what they will need, not by what they need now. Where lengths are certain the forecast is
exact and nobody is ever preempted; where they are not, finished requests tell how long others may get. After the
idea of a past-future scheduler (Gong et al., "Past-Future Scheduler for LLM Serving under SLA Guarantees", 2025).
"""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lampc.backend.job import Job

_REMEMBERED = 256
_SHARE = 0.5
_AHEAD = 1024


class Lengths:
    """Numbers of tokens that requests of uncertain length generated: the last ones that ran to their end, be it
    that of `max_tokens`."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque()
        self._sorted: list[int] = []

    def add(self, length: int) -> None:
        """A request of uncertain length ended after `length` tokens."""
        if len(self._recent) == _REMEMBERED:
            old = self._recent.popleft()
            del self._sorted[bisect_right(self._sorted, old) - 1]
        self._recent.append(length)
        insort(self._sorted, length)

    def expected(self, job: Job) -> int:
        """Tokens that a request will have generated in the end; the true number if that is certain.

        What is expected is the median of those that got longer than this one is now: some too many are admitted, and
        what is computed again for it is far less than what waits if nearly all are to fit. Of what never happened
        before, 1,024 more tokens are expected at most.
        """
        output = job.output
        known = len(output.tokens)
        if output.certain:
            return output.limit
        limit = min(output.limit, known + _AHEAD)
        first, count = bisect_right(self._sorted, known), len(self._sorted)
        if first < count:
            limit = min(limit, self._sorted[first + int((count - first) * _SHARE)])
        return limit

    def slots_left(self, job: Job) -> int:
        """Slots that a request still takes beyond those of the ids it knows: its last token needs none."""
        if job.request.score:
            return 0
        return max(0, self.expected(job) - len(job.output.tokens) - 1)


class Future(NamedTuple):
    """What lies ahead of a request that holds blocks.

    `own`: blocks that only it holds. `left`: slots it still takes, one a step, as early as it can. `steps`: after
    how many steps it is over, at the latest. `room`: slots it may take before it needs a new block.
    """

    own: int
    left: int
    steps: int
    room: int


def peak_blocks(locked: int, futures: Sequence[Future], block_size: int) -> int:
    """The most blocks that are locked at once from now on, if `locked` are now and nobody else comes.

    What several requests hold together counts until the end. The number can only peak right before one ends, so
    these moments are looked at, all requests at each.
    """
    if not futures:
        return locked
    own, left, steps, room = np.array(futures, np.int64).T
    moments = np.unique(steps)[:, None]
    grown = np.minimum(moments, left) - room
    blocks = own + np.maximum(0, -(-grown // block_size))
    return int(locked - own.sum() + np.where(steps >= moments, blocks, 0).sum(1).max())
