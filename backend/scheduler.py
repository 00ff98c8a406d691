"""Who computes what in the next step.

One token budget a step, no phases. Running requests that generate come first, one row each; what the budget leaves
goes to prompts, in chunks, in the order of the policy, a small part of it at most to those below the highest level that
runs; then waiting requests are admitted while the forecast says that their blocks will do to the end. Where no more may
run, the policy may let one that waits take a place. A request whose tokens somebody else has written, or writes in this
very step, goes on after them; one whose last token is in a chunk of this step already reads the same row.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable

from lampc.backend.job import Job
from lampc.backend.placing import YIELDING, Placing
from lampc.backend.plan import Chunk, Plan, Want
from lampc.backend.speculation.drafts import drop_draft
from lampc.backend.waiting import rank_of


class Scheduler(Placing):
    """Waiting and running jobs over one tree.

    `chunk` bounds the tokens of one job in a step. No more than `max_batch_tokens` run, whatever `max_running` says:
    each that generates has a row in every step, which is what the forecast counts on. At most `patience` requests
    that came later pass one that waits to be admitted; one that got no rows for its prompt in so many steps (or in
    `YIELDING` times as many while it yields: those before it take that much longer) goes before others that compute
    theirs.
    """

    def remove(self, job: Job, next_use: float | None = None, spent: int | None = None) -> None:
        """A job is over: out of its queue, and its path let go, see `ShrinkingTrie.release`."""
        if job.cursor is None:
            self.waiting.remove(job, admitted=False)
            return
        self.lanes.leave(job)
        self._unrun(job)
        sure = spent is not None
        if next_use is None and not sure:
            spent = self.waiting.spent(job)
        self._let_go(job, next_use, spent, sure)

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
        if self.drafter is not None:
            self.drafter.stir(self.lanes)
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
        if self.drafter is not None:
            self.drafter.draft(plan, self._budget, len(self.running))
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
        drawn = (want.job for want in before.other_wants if want.draws and isinstance(want.job, Job))
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
        plan.decoding, plan.rows = lanes.jobs, len(lanes.jobs)
        plan.plain, plan.greedy, plan.bare = lanes.kinds.plain, lanes.kinds.greedy, lanes.kinds.bare
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
                if not job.promoted and job.stalled >= self._patience * (YIELDING if self._yields(job) else 1):
                    late.append(job)
        for job in late:
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
        room = min(self._chunk, self._budget - plan.rows)
        yields = known - start > 1 and self._yields(job)
        if yields:
            room = min(room, self._yielding - plan.yielding)
        end = min(known, start + room)
        if end <= start:
            return False
        if yields:
            plan.yielding += end - start
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

    def _yields(self, job: Job) -> bool:
        """Whether one of a higher level runs, so that each row of this one's prompt makes somebody wait who matters
        more. One that waited long does not yield."""
        if job.promoted:
            return False
        mine, level = self._policy.level(job), self._policy.level
        for other in self.running:  # in the order of levels, but for those that waited long, who come first
            if level(other) > mine:
                return True
            if not other.promoted:
                return False
        return False

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
        plan.greedy = plan.greedy and job.greedy and draws
        plan.bare = plan.bare and job.bare is not None and draws
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
        for draft in plan.drafts:
            drop_draft(draft, self.tree)
        slots = plan.slots + plan.brought
        for chunk in plan.other_chunks:
            slots += [] if chunk.draft else chunk.slots[max(0, chunk.write_from - chunk.start) :]
        self.tree.take_back(slots)
        for want in plan.other_wants:
            want.job.owner.pending = False
        for job in plan.jobs():
            job.fast = False
            if job.matcher is not None:
                job.matcher.undo()
        return kept[0], kept[1]


def _prefills(job: Job) -> bool:
    return not job.fast


def _lag(job: Job) -> int:
    """How many of its tokens are not on its path."""
    assert job.cursor is not None
    return len(job.ids) - job.cursor.length
