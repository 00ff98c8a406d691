"""Requests that wait, in the policy's order, with a bound on how long that order may hold one back."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from lampc.backend.job import Job
from lampc.backend.policies import Policy


class Waiting:
    """At most `patience` requests that came later are admitted before one that waits; then it is next.

    Who came first was passed most often, since whoever passes a later one passes it too. So only the one that came
    first needs to be looked at: it was passed by all who left since it came, except those who were there before it.
    Those that were preempted are counted anew, from their return, and among themselves.
    """

    def __init__(self, policy: Policy, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience is {patience}; give at least 1")
        self._policy = policy
        self._patience = patience
        self._line: list[Job] = []  # by rank
        self._arrived: list[tuple[int, Job]] = []  # for the first time, by number
        self._returned: list[Job] = []
        self._left = 0

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._line)

    def add(self, job: Job) -> None:
        """Queues a job, new or preempted."""
        job.rank = (0, job.handle.id) if job.promoted else self._policy.rank(job)
        insort(self._line, job, key=rank_of)
        if job.preempted:
            at = len(self._returned)
            self._returned.append(job)
        else:
            at = bisect_left(self._arrived, (job.handle.id,))
            self._arrived.insert(at, (job.handle.id, job))
        job.passed = -self._left - at

    def remove(self, job: Job) -> None:
        """A job is admitted, or over. Does nothing if it is not here."""
        at = bisect_left(self._line, job.rank, key=rank_of)
        if at < len(self._line) and self._line[at] is job:
            del self._line[at]
            if job.preempted:
                self._returned.remove(job)
            else:
                del self._arrived[bisect_left(self._arrived, (job.handle.id,))]
            self._left += 1

    def first(self) -> Job:
        """Who is to be admitted next, as long as nobody comes or goes."""
        for oldest in [*(job for _, job in self._arrived[:1]), *self._returned[:1]]:
            if not oldest.promoted and oldest.passed + self._left >= self._patience:
                del self._line[bisect_left(self._line, oldest.rank, key=rank_of)]
                oldest.promoted = True
                oldest.rank = (0, oldest.handle.id)
                insort(self._line, oldest, key=rank_of)
        if not self._line[0].rank[0]:
            return self._line[0]
        return self._line[self._policy.next(self._line)]

    def spent(self, job: Job) -> int | None:
        """From which position on nobody here needs the tokens of a job that ends; None if the policy cannot know."""
        return self._policy.spent(job, self._line)

    def rerank(self) -> None:
        """The policy sees things anew."""
        for job in self._line:
            if not job.promoted:
                job.rank = self._policy.rank(job)
        self._line.sort(key=rank_of)


def rank_of(job: Job) -> tuple[object, ...]:
    """Key to sort by."""
    return job.rank
