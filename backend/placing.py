"""Who has blocks: requests are admitted while the forecast says that theirs will do, and give them back.

When blocks run out all the same, the request that is cheapest to recompute is preempted: what others share with it
stays, since they hold it. One that was preempted `MAX_PREEMPTIONS` times goes last, so everybody ends.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from heapq import nsmallest
from itertools import islice

from lampc.backend.errors import OutOfBlocks
from lampc.backend.fitting import Forecast
from lampc.backend.forecast import Lengths
from lampc.backend.job import Job
from lampc.backend.lanes import Lanes
from lampc.backend.nodes import Cursor
from lampc.backend.plan import Plan
from lampc.backend.policies import make_policy
from lampc.backend.radix import RadixTree
from lampc.backend.speculation.drafter import Drafter
from lampc.backend.waiting import Waiting, rank_of

MAX_PREEMPTIONS = 3
YIELDING = 8
"""What part of a step's tokens the prompts that yield to a higher level have, all together."""
MAX_VICTIMS = 8  # that are asked whether another fits in their place


class Placing:
    """Waiting and running jobs over one tree; see `lampc.backend.scheduler.Scheduler`."""

    def __init__(
        self,
        tree: RadixTree,
        *,
        max_batch_tokens: int,
        max_running: int,
        chunk: int | None,
        prefix_cache: bool,
        policy: str,
        patience: int,
    ) -> None:
        if max_batch_tokens < 1 or max_running < 1 or (chunk is not None and chunk < 1):
            raise ValueError("max_batch_tokens, max_running and chunk must be at least 1")
        self.tree = tree
        self.lengths = Lengths()
        self._policy = make_policy(policy, self.lengths, max_batch_tokens)
        self.waiting = Waiting(self._policy, patience)
        self.running: list[Job] = []  # by rank
        self.lanes = Lanes(tree)
        self._budget = max_batch_tokens
        self._max_running = min(max_running, max_batch_tokens)
        self._chunk = chunk if chunk is not None else max_batch_tokens
        self._prefix_cache = prefix_cache
        self._patience = patience
        self._yielding = max(1, max_batch_tokens // YIELDING)
        self._forecast = Forecast(tree, self.lengths, self._chunk, max_batch_tokens, self._yielding, self._policy.level)
        self._refused = (-1, -1)  # a job that did not fit, and how many had let go by then
        self._keeps = (-1, -1)  # a job that displaces nobody, the same way
        self._suspects: deque[Job] = deque()
        self._async = False
        self.relent: Callable[[], bool] = lambda: (
            False
        )  # lets a hold go that is none of a request; whether there was one
        self.drafter: Drafter | None = None

    @property
    def places(self) -> int:
        """How many jobs may run at a time."""
        return self._max_running

    def _admit(self, plan: Plan, on_admit: Callable[[Job], None] | None, spare: int = 0) -> Iterator[Job]:
        """Admits jobs, one by one, and leaves `spare` blocks free."""
        settled = False
        while self.waiting and len(self.running) < self._max_running:
            self._policy.cached = self._cached if self.tree.evicted else None
            job = self.waiting.first()
            if job in plan.preempted or self._refused == (job.handle.id, self.tree.releases):
                return
            if not settled:
                self.lanes.settle()
                settled = True
            try:
                if not self._place(job, spare):
                    self._refused = (job.handle.id, self.tree.releases)
                    return
            except OutOfBlocks as error:
                if self.running:
                    self._refused = (job.handle.id, self.tree.releases)
                    return
                if self.relent():
                    continue
                self.waiting.remove(job, admitted=False)
                plan.starved.append((job, error))
                self._gone(job)
                continue
            self.waiting.remove(job, admitted=True)
            self._policy.admitted(job)
            insort(self.running, job, key=rank_of)
            plan.admitted.append(job)
            if on_admit is not None:
                on_admit(job)
            yield job

    def _place(self, job: Job, spare: int) -> bool:
        """Gives a job a path with slots for all its ids, if the forecast allows it. Raises OutOfBlocks."""
        tree = self.tree
        # Held first: what is there of its prompt is not to be evicted for the rest of it, and is not its own cost.
        cursor = self._hold(job)
        if self.running and not self._forecast.fit(self.running, [(job, cursor)]):
            tree.release(cursor)
            job.root = None
            return False
        tree.complete(cursor, job.ids, spare)
        job.cursor = cursor
        job.promised = -(-self.lengths.slots_left(job) // tree.pool.block_size)
        job.set_slots(tree.slots(cursor))
        return True

    def _cached(self, job: Job) -> int:
        """Tokens of a request's ids that are in the tree."""
        if not self._prefix_cache:
            return 0
        node, offset = self.tree.match(job.ids, self.tree.named_root(job.request.adapter))
        return node.start + offset

    def _hold(self, job: Job) -> Cursor:
        """Holds what is there of a job's path."""
        adapter = job.request.adapter
        job.root = self.tree.named_root(adapter) if self._prefix_cache else self.tree.new_root()
        return self.tree.hold(*self.tree.match(job.ids, job.root))

    def _make_room(self, plan: Plan) -> None:
        """Blocks for the next token of every running job, at the price of preempting some."""
        tree, running = self.tree, self.running
        if tree.pool.free >= len(running) + self._ahead():
            return
        self.lanes.settle()
        tree.evict(len(running) + self._ahead())
        while tree.pool.free < len(running) + self._ahead():
            needed = sum(self._growth(job) for job in running)
            if needed <= tree.pool.free:
                return
            if self.relent():
                tree.evict(len(running) + self._ahead())
                continue
            victim = min(running, key=self._cost)
            if len(running) > 1:
                self._preempt(victim, plan)
            elif len(victim.ids) <= tree.pool.total * tree.pool.block_size and not self._settled(victim):
                # Where paths parted blocks are not full: nobody is on them now, so it is placed anew, without gaps.
                self._preempt(victim, plan)
                tree.evict(tree.pool.total)
                return
            else:
                self._unrun(victim)
                self._let_go(victim)
                plan.starved.append((victim, OutOfBlocks(needed, tree.pool.free)))
            tree.evict(len(running) + self._ahead())

    def _ahead(self) -> int:
        """Blocks beyond one for each that running jobs need which know several tokens that are not on their paths."""
        if len(self.lanes.jobs) == len(self.running):
            return 0
        size = self.tree.pool.block_size
        blocks = 0
        for job in self.running:
            if job.lane is None and not job.fast and job.cursor is not None:
                blocks += (len(job.ids) - job.cursor.length) // size
        return blocks

    def _give_way(self, plan: Plan) -> None:
        """Where no more may run, those that run give their places to those that wait and that the policy puts above
        them, if these fit then; none that gave way often or waited long. What they computed stays cached for a
        while."""
        if not self._would_give_way():
            return
        first = self.waiting.first()
        coming: list[tuple[Job, Cursor]] = []
        for job in list(islice(self.waiting, len(self.running))):
            victims = self._below(job)
            if not victims:
                break
            coming.append((job, self._hold(job)))
            victim = next((v for v in victims if self._forecast.fit(self.running, coming, v)), None)
            if victim is None:
                break
            self._preempt(victim, plan)
        for job, cursor in coming:
            self.tree.release(cursor)
            job.root = None
        if not plan.preempted:
            self._keeps = (first.handle.id, self.tree.releases)  # the same ones run until somebody lets go

    def _would_give_way(self) -> bool:
        """Whether any of those that run might give their places."""
        if len(self.running) < self._max_running or not self.waiting:
            return False
        first = self.waiting.first()
        state = first.handle.id, self.tree.releases
        if state in (self._refused, self._keeps):
            return False
        self.lanes.settle()
        if self._below(first):
            return True
        self._keeps = state
        return False

    def _below(self, job: Job) -> list[Job]:
        """Some of those that run and would give way to a job, the cheapest first."""
        # It is a place that is wanted: one without blocks of its own will do as well.
        cheapest = nsmallest(MAX_VICTIMS, self.running, key=lambda other: self._cost(other)[1:])
        return [v for v in cheapest if not self._settled(v) and self._policy.level(v) < self._policy.level(job)]

    def _preempt(self, job: Job, plan: Plan) -> None:
        self._unrun(job)
        self._let_go(job)
        job.preempted += 1
        self.waiting.add(job)
        plan.preempted.append(job)

    def _growth(self, job: Job) -> int:
        """New blocks that the ids of a job need which are not on its path yet."""
        assert job.cursor is not None
        count = len(job.ids) - job.cursor.length
        if len(self.running) > 1:
            return max(0, -(-(count - self.tree.room(job.cursor)) // self.tree.pool.block_size))
        return self.tree.pool.blocks_for(self.tree.slot_before(job.cursor.node, job.cursor.offset), count)

    def _cost(self, job: Job) -> tuple[float, ...]:
        """Smallest for the job that should be preempted first.

        One that would free nothing is asked last, before it one that gave way often or waited long. Of the others
        the policy says who matters; between equals the one goes that has the least to recompute.
        """
        assert job.cursor is not None
        blocks, tokens = self.tree.own(job.cursor)
        if self._settled(job):
            return (not blocks, 1, -job.handle.id)
        return (not blocks, 0, self._policy.keep(job), tokens, len(job.output.tokens), -job.handle.id)

    @staticmethod
    def _settled(job: Job) -> bool:
        return job.promoted or job.preempted >= MAX_PREEMPTIONS

    def _unrun(self, job: Job) -> None:
        del self.running[bisect_left(self.running, job.rank, key=rank_of)]

    def _let_go(self, job: Job, next_use: float | None = None, spent: int | None = None, sure: bool = False) -> None:
        assert job.cursor is not None
        self.lanes.leave(job)
        self.tree.release(job.cursor, next_use, spent, sure)
        self._gone(job)

    def _gone(self, job: Job) -> None:
        job.cursor = job.root = None
        job.fast = False
        job.stalled = 0
        job.promised = 0
