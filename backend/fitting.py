"""Whether the blocks of a pool will do to the end for those that run and for others that would join them."""

from collections.abc import Callable, Sequence

from lampc.backend.forecast import Future, Lengths, peak_blocks
from lampc.backend.job import Job
from lampc.backend.nodes import Cursor
from lampc.backend.radix import RadixTree

_SEATED = 2  # steps that a request may miss before it has a row in every one, where steps are launched ahead


class Forecast:
    """Of jobs on a tree, which compute at most `chunk` tokens of one prompt and `budget` of all in a step; `yielding`
    of the prompts that are not of the highest `level`."""

    def __init__(
        self,
        tree: RadixTree,
        lengths: Lengths,
        chunk: int,
        budget: int,
        yielding: int,
        level: Callable[[Job], int],
    ) -> None:
        self._tree = tree
        self._lengths = lengths
        self._chunk = chunk
        self._budget, self._yielding, self._level = budget, yielding, level
        self.ahead = False  # steps are launched ahead: who cannot be has a row in every other one

    def fit(self, running: Sequence[Job], coming: Sequence[tuple[Job, Cursor]], without: Job | None = None) -> bool:
        """Whether there are blocks for all to the end, if jobs with these paths, which are held, join those that run,
        and `without` is not there any more. What those that come share and nobody has yet is counted for each."""
        tree, pool = self._tree, self._tree.pool
        size = pool.block_size
        locked = tree.locked_blocks
        if without is not None:
            assert without.cursor is not None
            running = [job for job in running if job is not without]
            locked -= tree.own(without.cursor)[0]
        promised = sum(job.promised for job in running)
        needs = []
        for job, cursor in coming:
            rest, room, left = len(job.ids) - cursor.length, tree.room(cursor), self._lengths.slots_left(job)
            new = max(0, -(-(rest - room) // size))
            locked += new
            promised -= -left // size
            needs.append((cursor, new, left, room + new * size - rest))
        if locked + promised <= pool.total:
            return True
        prompts: list[tuple[Job, Cursor | None]] = [*coming, *((j, j.cursor) for j in running if not j.fast)]
        rate = max(1, min(self._chunk, self._budget - len(running) - len(coming) + 1))
        top = max(map(self._level, (*running, *(job for job, _ in coming))))
        prefill = 0
        for job, path in prompts:
            assert path is not None
            prefill += self._prefill_steps(job, path, rate if self._level(job) == top else min(rate, self._yielding))
        futures = [self._future(job, prefill) for job in running]
        late = _SEATED if self.ahead else 0
        futures += [Future(tree.own(at)[0] + new, left, prefill + left + late, room) for at, new, left, room in needs]
        return peak_blocks(locked, futures, size) <= pool.total

    def _future(self, job: Job, prefill: int) -> Future:
        assert job.cursor is not None
        left = self._lengths.slots_left(job) + len(job.ids) - job.cursor.length
        steps = left if job.fast else left + prefill
        if self.ahead and job.lane is None:
            steps += left if job.synchronous else _SEATED
        return Future(self._tree.own(job.cursor)[0], left, steps, self._tree.room(job.cursor))

    def _prefill_steps(self, job: Job, cursor: Cursor, rate: int) -> int:
        return -(-(len(job.ids) - min(self._tree.written(cursor), job.next_logits)) // rate)
