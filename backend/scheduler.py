"""Who computes what in the next step.

One token budget a step, no phases: running requests in order (priority, then arrival) take what they still
have to compute, in chunks; then waiting ones are admitted while there are blocks. A request whose tokens
somebody else has written, or writes in this very step, goes on after them; one whose last token is in this
step already reads the same row. When blocks run out, the last in order is preempted and recomputed later.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field

from lampc.backend.errors import OutOfBlocks
from lampc.backend.job import Job
from lampc.backend.radix import RadixTree


@dataclass(frozen=True, slots=True)
class Chunk:
    """Positions [start, end) of a job go through the model; K/V of those from `write_from` on is stored."""

    job: Job
    start: int
    end: int
    write_from: int


@dataclass(frozen=True, slots=True)
class Want:
    """A job needs the logits of some rows of the step; `rows[i]` belongs to its position `start + i`."""

    job: Job
    start: int
    rows: list[int]


@dataclass(slots=True)
class Plan:
    """One step: rows are numbered in the order of the chunks."""

    chunks: list[Chunk] = field(default_factory=list)
    wants: list[Want] = field(default_factory=list)
    rows: int = 0
    row_of: dict[int, int] = field(default_factory=dict)  # slot -> row
    starved: list[tuple[Job, OutOfBlocks]] = field(default_factory=list)
    admitted: list[Job] = field(default_factory=list)
    preempted: list[Job] = field(default_factory=list)
    cached: int = 0
    computed: int = 0
    before: list[tuple[Job, int, int, int]] = field(default_factory=list)  # counts, to take them back


class Scheduler:
    """Waiting and running jobs over one tree. `chunk` bounds the tokens of one job in a step."""

    def __init__(
        self,
        tree: RadixTree,
        *,
        max_batch_tokens: int,
        max_running: int,
        chunk: int | None,
        prefix_cache: bool,
    ) -> None:
        if max_batch_tokens < 1 or max_running < 1 or (chunk is not None and chunk < 1):
            raise ValueError("max_batch_tokens, max_running and chunk must be at least 1")
        self.tree = tree
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.solo = False  # after a failed step: one job at a time, to find the one that fails
        self._budget = max_batch_tokens
        self._max_running = max_running
        self._chunk = chunk if chunk is not None else max_batch_tokens
        self._prefix_cache = prefix_cache

    def add(self, job: Job) -> None:
        """Queues a job, new or preempted."""
        insort(self.waiting, job, key=_order)

    def remove(self, job: Job, next_use: float | None = None) -> None:
        """Takes a job out of whichever queue it is in and lets its path go, which is needed next at `next_use`."""
        queue = self.running if job.cursor is not None else self.waiting
        at = bisect_left(queue, job.order, key=_order)
        if at < len(queue) and queue[at] is job:
            del queue[at]
        self._let_go(job, next_use)

    def schedule(self, on_admit: Callable[[Job], None] | None = None) -> Plan:
        """The next step. Jobs in `starved` cannot ever get their blocks and are to be finished by the caller."""
        plan = Plan()
        for job in list(self.running):
            if job.cursor is None:  # preempted by one before it
                continue
            if self._grow(job, plan):
                self._emit(job, plan)
            if self.solo and plan.rows:
                return plan
        while self.waiting and len(self.running) < self._max_running and not plan.preempted:
            job = self.waiting[0]
            try:
                self._admit(job)
            except OutOfBlocks as error:
                if self.running:
                    break
                self.waiting.pop(0)
                plan.starved.append((job, error))
                continue
            self.waiting.pop(0)
            insort(self.running, job, key=_order)
            plan.admitted.append(job)
            if on_admit is not None:
                on_admit(job)
            self._emit(job, plan)
            if self.solo:
                break
        for chunk in list(plan.chunks):
            # One behind may have gone on where this job's chunk ended, right to the end of its prompt.
            if chunk.end < len(chunk.job.ids):
                self._join(chunk.job, plan)
        return plan

    def _admit(self, job: Job) -> None:
        if not self._prefix_cache and job.root is None:
            job.root = self.tree.new_root()
        # Each running job may soon need a block; without a reserve an admitted one would be preempted at once.
        reserve = len(self.running)
        job.cursor = self.tree.insert(job.ids, job.root, reserve)
        job.set_slots(self.tree.slots(job.cursor))

    def _grow(self, job: Job, plan: Plan) -> bool:
        """Makes the job's path hold all its ids; False if the job had to go instead."""
        assert job.cursor is not None
        while job.cursor.length < len(job.ids):
            try:
                at = job.cursor.length
                self.tree.extend(job.cursor, job.ids[at:])
                if job.cursor.length == at + 1:
                    job.add_slot(at, job.cursor.node.slots[job.cursor.offset - 1])
                else:
                    job.set_slots(self.tree.slots(job.cursor))
            except OutOfBlocks as error:
                victim = self.running[-1]
                if victim is job and len(self.running) == 1:
                    self.running.remove(job)
                    self._let_go(job)
                    plan.starved.append((job, error))
                    return False
                self.running.remove(victim)
                self._let_go(victim)
                self.add(victim)
                plan.preempted.append(victim)
                if victim is job:
                    return False
        return True

    def _let_go(self, job: Job, next_use: float | None = None) -> None:
        if job.cursor is not None:
            self.tree.release(job.cursor, next_use)
            job.cursor = None
            job.root = None

    def _emit(self, job: Job, plan: Plan) -> None:
        """Adds the job's next rows to the plan, as far as the budget goes."""
        assert job.cursor is not None
        written = self.tree.written(job.cursor)
        known = len(job.ids)
        need = job.next_logits
        if self._join(job, plan):
            return
        start = min(written, need)
        end = min(known, start + self._chunk, start + self._budget - plan.rows)
        if end <= start:
            return
        first = plan.rows
        plan.chunks.append(Chunk(job, start, end, written))
        plan.rows += end - start
        for i, slot in enumerate(job.slots[start:end].tolist()):
            plan.row_of.setdefault(slot, first + i)
        self.tree.mark_written(job.cursor, end)
        self._count(job, plan, start, end)
        if end > need:
            at = max(start, need)
            plan.wants.append(Want(job, at, list(range(first + at - start, first + end - start))))

    def _join(self, job: Job, plan: Plan) -> bool:
        """Lets a job read its one row of logits from a row that is in the step anyway, if there is one."""
        assert job.cursor is not None
        last = len(job.ids) - 1
        row = plan.row_of.get(int(job.slots[last]))
        if row is None or job.next_logits != last:
            return False
        plan.wants.append(Want(job, last, [row]))
        self._count(job, plan, last + 1, last + 1)
        return True

    @staticmethod
    def _count(job: Job, plan: Plan, start: int, end: int) -> None:
        plan.before.append((job, job.watermark, job.cached, job.computed))
        cached, computed = job.pass_by(start, end)
        plan.cached += cached
        plan.computed += computed

    def roll_back(self, plan: Plan) -> None:
        """The step did not happen: nothing that it was to write is written, and nothing counts."""
        for job, watermark, cached, computed in reversed(plan.before):
            job.watermark, job.cached, job.computed = watermark, cached, computed
        for chunk in plan.chunks:
            if chunk.job.cursor is not None and chunk.write_from < chunk.end:
                self.tree.mark_unwritten(chunk.job.cursor, max(chunk.start, chunk.write_from))


def _order(job: Job) -> tuple[int, int]:
    return job.order
