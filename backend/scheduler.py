"""Who computes what in the next step.

One token budget a step, no phases. Running requests that generate come first, one row each; what the budget leaves
goes to prompts, in chunks, in the order of the policy; then waiting requests are admitted while the forecast says
that their blocks will do to the end. Where no more may run, the policy may let one that waits take a place. A
request whose tokens somebody else has written, or writes in this very step, goes on after them; one whose last
token is in a chunk of this step already reads the same row.

When blocks run out all the same, the request that is cheapest to recompute is preempted: what others share with it
stays, since they hold it. One that was preempted `MAX_PREEMPTIONS` times goes last, so everybody ends.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from itertools import islice

from lampc.backend.errors import OutOfBlocks
from lampc.backend.fitting import Forecast
from lampc.backend.forecast import Lengths
from lampc.backend.job import Job
from lampc.backend.lanes import Lanes
from lampc.backend.nodes import Cursor
from lampc.backend.plan import Chunk, Plan, Want
from lampc.backend.policies import make_policy
from lampc.backend.radix import RadixTree
from lampc.backend.waiting import Waiting, rank_of

MAX_PREEMPTIONS = 3
MAX_VICTIMS = 8  # that are asked whether another fits in their place


class Scheduler:
    """Waiting and running jobs over one tree.

    `chunk` bounds the tokens of one job in a step. No more than `max_batch_tokens` run, whatever `max_running` says:
    each that generates has a row in every step, which is what the forecast counts on. At most `patience` requests
    that came later pass one that waits to be admitted; one that got no rows for its prompt in so many steps goes
    before others that compute theirs.
    """

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
        self._suspects: deque[Job] = deque()
        self._budget = max_batch_tokens
        self._max_running = min(max_running, max_batch_tokens)
        self._chunk = chunk if chunk is not None else max_batch_tokens
        self._prefix_cache = prefix_cache
        self._async = False
        self._patience = patience
        self._forecast = Forecast(tree, self.lengths, self._chunk, max_batch_tokens)
        self._refused = (-1, -1)  # a job that did not fit, and how many had let go by then
        self._keeps = (-1, -1)  # a job that displaces nobody, the same way

    def remove(self, job: Job, next_use: float | None = None) -> None:
        """A job is over: out of its queue, and its path let go, which is needed next at `next_use`."""
        if job.cursor is None:
            self.waiting.remove(job, admitted=False)
            return
        self.lanes.leave(job)
        self._unrun(job)
        self._let_go(job, next_use, self.waiting.spent(job) if next_use is None else None)

    def observe(self, step_s: float) -> None:
        """A step took this long, in seconds."""
        if self._policy.observe(step_s):
            self.waiting.rerank()

    def suspect(self, jobs: Iterable[Job]) -> None:
        """A step with these jobs failed: each is tried alone next, to find the one that is to blame."""
        self._suspects = deque(jobs)

    # -- one step --------------------------------------------------------------------------------------

    def schedule(
        self,
        on_admit: Callable[[Job], None] | None = None,
        on_preempt: Callable[[Job], None] | None = None,
        ahead: bool = False,
    ) -> Plan:
        """The next step. Jobs in `starved` cannot ever get their blocks and are to be finished by the caller.

        `ahead`: steps are launched ahead of the tokens of the ones before; but all tokens are here now.
        """
        plan = Plan(self.lanes, copies=self.tree.copies)
        self._async = self._forecast.ahead = ahead
        self._make_room(plan)
        short = bool(plan.preempted)
        if len(self.running) >= self._max_running and self.waiting and not short and not self._suspects:
            self._give_way(plan)
        if on_preempt is not None:
            for job in plan.preempted:
                on_preempt(job)
        while self._suspects:
            job = self._suspects.popleft()
            if job.cursor is not None and not job.handle.done:
                self._grow(job)
                self._emit(job, plan)
                if plan.rows:
                    return plan
        lanes = self.lanes
        lanes.advance()  # nearly every row of every generation
        slow: list[Job] = []
        if len(lanes.jobs) < len(self.running):
            lanes.join([job for job in self.running if job.lane is None and job.fast and self._may_join(job)])
            slow = [job for job in self.running if job.lane is None]
            slow.sort(key=_prefills)
        self._decode(plan)
        for job in slow:
            self._grow(job)
        if slow:
            self._run(slow, plan)
        if self.waiting and not short:
            for job in self._admit(plan, on_admit):
                self._emit(job, plan)
        for job in plan.partly:
            self._join(job, plan)  # one behind may have gone on from there, right to the end of this one's prompt
        return plan

    def schedule_ahead(self, before: Plan, on_admit: Callable[[Job], None] | None = None) -> Plan | None:
        """The step after `before`, which is in flight: its tokens are not here. None if they are needed first.

        Paths grow only by tokens that are known, and before any slot is given to a token that is not: so nobody can
        take that slot, or go through it, before the token is here. A job whose token is needed first has no row.
        """
        tree, lanes, plan = self.tree, self.lanes, Plan(self.lanes, copies=self.tree.copies)
        self._async = self._forecast.ahead = True
        if self._suspects or not self._part_synchronous():
            return None
        others = [job for job in self.running if job.lane is None] if len(lanes.jobs) < len(self.running) else []
        size = tree.pool.block_size
        needed = lanes.due + sum(1 if job.pending else -(-_lag(job) // size) for job in others)
        if tree.pool.free < needed:
            lanes.settle()
            tree.evict(needed)
        if tree.pool.free < needed or self._would_give_way():
            return None
        joining, slow = [], []
        for job in others:
            if job.pending:
                continue
            if job.fast and _lag(job) == 1 and tree.grows(job.cursor) and self._may_join(job):  # type: ignore[arg-type]
                joining.append(job)
            else:
                self._grow(job)
                slow.append(job)
        slow.sort(key=_prefills)
        for _ in self._admit(plan, on_admit, needed):
            pass
        lanes.advance()
        drawn = (want.job for want in before.other_wants if want.draws)
        lanes.join(joining, [job for job in drawn if job.pending and job.fast and not job.synchronous])
        self._decode(plan)
        self._run(slow, plan)
        for job in plan.admitted:
            self._emit(job, plan)
        if tree.copies:
            plan.brought = tree.copies.inward()
        for job in plan.partly:
            self._join(job, plan)
        return plan

    def _decode(self, plan: Plan) -> None:
        """Rows for all lanes."""
        lanes = self.lanes
        plan.decoding, plan.rows, plan.plain = lanes.jobs, len(lanes.jobs), lanes.plain
        if plan.rows:
            plan.places = lanes.planned()

    def _may_join(self, job: Job) -> bool:
        """Lanes are launched ahead; those that cannot be are there only while all are of that kind."""
        return not (self._async and job.synchronous) or all(other.synchronous for other in self.running)

    def _part_synchronous(self) -> bool:
        """Has lanes that cannot be launched ahead leave, if there are others; False if nobody can be."""
        held = [job for job in self.lanes.jobs if job.synchronous]
        if held and all(job.synchronous for job in self.running):
            return False
        for job in held:
            self.lanes.leave(job)
        return True

    def _run(self, slow: list[Job], plan: Plan) -> None:
        """Rows for those of the running jobs that have no lane."""
        late = []
        for job in slow:
            if self._emit(job, plan):
                job.stalled = 0
            else:
                job.stalled += 1
                if job.stalled == self._patience:
                    late.append(job)
        for job in late:
            if not job.promoted:
                self._unrun(job)
                job.promoted, job.rank = True, (0, job.handle.id)
                insort(self.running, job, key=rank_of)

    def _grow(self, job: Job) -> None:
        """Makes the job's path hold all its ids. There is room, see `_make_room`."""
        assert job.cursor is not None
        at = job.cursor.length
        count = len(job.ids) - at
        if count:
            self.lanes.settle()  # the path may lead into what another lets grow
            self.tree.extend(job.cursor, job.ids[at:])
            if count == 1:
                job.add_slots(at, job.cursor.node.slots[job.cursor.offset - 1 :])
            else:
                job.set_slots(self.tree.slots(job.cursor))

    def _emit(self, job: Job, plan: Plan) -> bool:
        """Adds the job's next rows to the plan, as far as the budget goes; False if it gets none."""
        assert job.cursor is not None
        written = self.tree.written(job.cursor)
        known = len(job.ids)
        need = job.next_logits
        if self._join(job, plan):
            return True
        start = min(written, need)
        end = min(known, start + self._chunk, start + self._budget - plan.rows)
        if end <= start:
            return False
        first = plan.rows
        plan.other_chunks.append(Chunk(job, start, end, written, job.slots[start:end].tolist()))
        plan.rows += end - start
        if end - start > 1:
            plan.row_of.update(zip(job.slots[start:end].tolist(), range(first, plan.rows)))
        else:
            plan.row_of[int(job.slots[start])] = first
        self.tree.mark_written(job.cursor, end)
        self._count(job, plan, start, end)
        if end > need:
            at = max(start, need)
            self._want(job, plan, at, list(range(first + at - start, first + end - start)))
        if end == known:
            self._ready(job, plan)
        else:
            plan.partly.append(job)
        return True

    def _join(self, job: Job, plan: Plan) -> bool:
        """Lets a job read its one row of logits from a row that is in the step anyway, if there is one."""
        if not plan.row_of:
            return False
        last = len(job.ids) - 1
        row = plan.row_of.get(int(job.slots[last]))
        if row is None or job.next_logits != last:
            return False
        self._want(job, plan, last, [row])
        self._count(job, plan, last + 1, last + 1)
        self._ready(job, plan)
        return True

    @staticmethod
    def _want(job: Job, plan: Plan, start: int, rows: list[int]) -> None:
        draws = job.draws and start + len(rows) == len(job.ids)
        plan.other_wants.append(Want(job, start, rows, draws))
        plan.plain = plan.plain and job.plain and draws
        job.pending = True

    def _ready(self, job: Job, plan: Plan) -> None:
        if not job.fast:
            job.fast = True
            plan.prefilled.append(job)
            self._refused = self._keeps = (-1, -1)  # the forecast has one unknown less

    @staticmethod
    def _count(job: Job, plan: Plan, start: int, end: int) -> None:
        if start >= job.prompt_len == job.watermark:
            return
        plan.before.append((job, job.watermark, job.cached, job.computed))
        cached, computed = job.pass_by(start, end)
        plan.cached += cached
        plan.computed += computed

    def roll_back(self, plan: Plan) -> tuple[int, int]:
        """The step that was planned last did not happen: nothing that it was to write is written, and nothing counts.

        But what was counted for requests that are over stays: gives their numbers of cached and computed tokens.
        """
        kept = [0, 0]
        for job, watermark, cached, computed in reversed(plan.before):
            if job.handle.completion is not None:
                kept[0] += job.cached - cached
                kept[1] += job.computed - computed
            job.watermark, job.cached, job.computed = watermark, cached, computed
        if plan.decoding:
            self.lanes.take_back(plan.decoding)
        slots = plan.slots + plan.brought
        for chunk in plan.other_chunks:
            slots += chunk.slots[max(0, chunk.write_from - chunk.start) :]
        self.tree.take_back(slots)
        for want in plan.other_wants:
            want.job.pending = False
        for job in plan.jobs():
            job.fast = False
        return kept[0], kept[1]

    # -- blocks ----------------------------------------------------------------------------------------

    def _admit(self, plan: Plan, on_admit: Callable[[Job], None] | None, spare: int = 0) -> Iterator[Job]:
        """Admits jobs, one by one, and leaves `spare` blocks free."""
        settled = False
        while self.waiting and len(self.running) < self._max_running:
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
            victim = min(running, key=self._cost)
            if len(running) > 1:
                self._preempt(victim, plan)
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
        return [v for v in cheapest if not self._settled(v) and self._policy.displaces(job, v)]

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

    def _let_go(self, job: Job, next_use: float | None = None, spent: int | None = None) -> None:
        assert job.cursor is not None
        self.lanes.leave(job)
        self.tree.release(job.cursor, next_use, spent)
        self._gone(job)

    def _gone(self, job: Job) -> None:
        job.cursor = job.root = None
        job.fast = False
        job.stalled = 0
        job.promised = 0


def _prefills(job: Job) -> bool:
    return not job.fast


def _lag(job: Job) -> int:
    """How many of its tokens are not on its path."""
    assert job.cursor is not None
    return len(job.ids) - job.cursor.length
