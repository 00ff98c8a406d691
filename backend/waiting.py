"""Requests that wait, in the policy's order, with a bound on how long that order may hold one back."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from lampc.backend.job import Job
from lampc.backend.policies import Policy


class Waiting:
    """At most `patience` requests that came later are admitted before one that waits; then it is next.

    Who came first was passed most often, since whoever passes a later one passes it too. So only the one that came
    first needs to be looked at. Those that were preempted are counted anew, from their return, and among themselves;
    whoever is aborted or too late has passed nobody.
    """

    def __init__(self, policy: Policy, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience is {patience}; give at least 1")
        self._policy = policy
        self._patience = patience
        self._line: list[Job] = []  # by rank
        self._arrived, self._returned = Passing(), Passing()

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._line)

    def add(self, job: Job) -> None:
        """Queues a job, new or preempted."""
        job.rank = (0, job.handle.id) if job.promoted else self._policy.rank(job)
        insort(self._line, job, key=rank_of)
        (self._returned if job.preempted else self._arrived).add(job)

    def remove(self, job: Job, *, admitted: bool) -> None:
        """A job is admitted, or over. Does nothing if it is not here."""
        at = bisect_left(self._line, job.rank, key=rank_of)
        if at < len(self._line) and self._line[at] is job:
            del self._line[at]
            mine, other = self._arrived, self._returned
            if job.preempted:
                mine, other = other, mine
            mine.remove(job, admitted)
            other.admissions += admitted

    def first(self) -> Job:
        """Who is to be admitted next, as long as nobody comes or goes."""
        for passing in (self._arrived, self._returned):
            oldest = passing.oldest
            if oldest is not None and not oldest.promoted and passing.most >= self._patience:
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


class Passing:
    """Jobs in order of arrival, and how often the first of them was passed: admissions since it came, of all but
    those who were there before it.

    How often a job was passed is `admissions` less the sum of `unpassed` up to it. So what changes for all behind
    a job that leaves is kept at the next one, and nothing is ever counted through.
    """

    def __init__(self) -> None:
        self.admissions = 0
        self._jobs: list[Job] = []
        self._tickets = 0
        self._unpassed = 0  # sum over the jobs

    @property
    def oldest(self) -> Job | None:
        """The first, None if there is none."""
        return self._jobs[0] if self._jobs else None

    @property
    def most(self) -> int:
        """How often the first was passed."""
        return self.admissions - self._jobs[0].unpassed

    def add(self, job: Job) -> None:
        """One more, which nobody passed yet."""
        self._tickets += 1
        job.ticket = self._tickets
        job.unpassed = self.admissions - self._unpassed
        self._unpassed = self.admissions
        self._jobs.append(job)

    def remove(self, job: Job, admitted: bool) -> None:
        """One leaves: if it is admitted, it passes those before it."""
        at = bisect_left(self._jobs, job.ticket, key=_ticket)
        del self._jobs[at]
        self.admissions += admitted
        if at < len(self._jobs):
            self._jobs[at].unpassed += job.unpassed + admitted
            self._unpassed += admitted
        else:
            self._unpassed -= job.unpassed


def _ticket(job: Job) -> int:
    return job.ticket


def rank_of(job: Job) -> tuple[object, ...]:
    """Key to sort by."""
    return job.rank
