"""Requests that generate, as columns of numbers.

From one step to the next such a request changes by one token, one position and one slot. Here these are arrays with a
place for each request, so that a step costs a few operations on arrays, however many requests there are: between two
forward passes everything is out of the processor's caches, and what counts is how many places are looked at. The
objects behind, jobs and nodes of the tree, hear of their tokens a block at a time, or when somebody is about to look
at them.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lampc.backend.bare_draws import BARE, Draws, needs_mask
from lampc.backend.drawing import Drawing
from lampc.backend.grammar.matcher import Asked, heard
from lampc.backend.job import Drawn, Job, Lane
from lampc.backend.metrics import Recorder
from lampc.backend.radix import RadixTree
from lampc.backend.spans import Spans

Numbers = NDArray[np.int64]


class Kinds(NamedTuple):
    """What jobs want: only likeliest tokens if all are `plain`, only those that grammars take if all are `greedy`, only
    draws from bare rows if all are `bare`.
    `asked` are those whose grammars tokens are offered to, `masked` those whose tokens are drawn under masks; `stepped`
    are those of both that hear of a token only if their grammar has more to say to it."""

    plain: bool
    greedy: bool
    bare: bool
    asked: list[Asked[Job]]
    masked: list[tuple[int, Drawing]]
    stepped: list[Asked[Job]]


class Lanes:
    """Jobs that compute their newest token in the next step and want its logits; row i of the step is that of jobs[i].

    `memory`, int64 [3, at least len(jobs)]: the newest token of each, its position, and the slot it has once `advance`
    was called; 0, 0 and -1 beyond the jobs, as in rows of padding. `spans` says the same of paths, `draws` how the
    tokens of `bare` jobs are drawn. `jobs` is never changed in place.

    A job is alone in the leaf of the tree that it lets grow. Whoever reads or changes paths or jobs calls `settle`
    before, as their books may be behind by a block; if he joins a leaf or hangs another below it, its job leaves before
    the next step.

    A step may be planned while the one before it is in flight, its tokens not here: positions and slots are known all
    the same. A block whose first token is not known yet is claimed from the pool, and comes into the tree with the
    token. From `advance` to `take` of the step in flight nobody else may let paths grow.
    """

    def __init__(self, tree: RadixTree) -> None:
        self.jobs: list[Job] = []
        self.tree = tree
        self._block = tree.pool.block_size
        self._step = 0  # how many were taken
        self._flying = 0  # how many more were planned
        self._now = 0.0  # when the last one was
        self._kept = self._block + 1  # a lane that last heard while a step was in flight is behind by a block and one
        self._drawn: list[Sequence[int]] = [()] * self._kept  # by each of the last ones
        self._gaps = [0.0] * self._kept  # and the time since the one before it
        self._new: dict[int, list[Lane]] = {}  # by their first step
        self._full: dict[int, list[Lane]] = {}  # by the step before which they need another block
        self._over: dict[int, list[Lane]] = {}  # by the step whose token is their last
        self._heard: dict[Lane, None] = {}  # those whose job must hear of every token
        self._stops: set[int] = set()  # ids that end any of the others, or did; whoever draws one hears of it
        self._seen = False  # somebody may have changed the tree
        self._behind = False  # jobs, or the tree, may not have heard of all tokens
        self._paths: list[Numbers] = []
        self._size = 0
        self._kinds: Kinds | None = None
        self.memory, self._table = np.zeros((3, 0), np.int64), np.zeros((0, 4), np.int64)
        self.draws: Draws = np.zeros(0, BARE)
        self.make_room(16)

    @property
    def kinds(self) -> Kinds:
        """What the jobs want."""
        if self._kinds is None:
            jobs = self.jobs
            kept = [(i, job, job.matcher) for i, job in enumerate(jobs) if job.matcher is not None]
            asked = [its for its in kept if not needs_mask(its[1].request.sampling)]
            masked: list[tuple[int, Drawing]] = [its[:2] for its in kept if needs_mask(its[1].request.sampling)]
            stepped = [its for its in kept if its[1].lane not in self._heard]
            plain, greedy = all(job.plain for job in jobs), all(job.greedy for job in jobs)
            self._kinds = Kinds(plain, greedy, all(job.bare for job in jobs), asked, masked, stepped)
        return self._kinds

    @property
    def due(self) -> int:
        """How many need another block for the next step, at most."""
        return len(self._full.get(self._step + self._flying, ()))

    @property
    def claimed(self) -> list[int]:
        """Slots of tokens that nobody knows yet, for checks."""
        return [job.lane.claimed for job in self.jobs if job.lane and job.lane.claimed is not None]

    # -- a step ----------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Gives each newest token its slot; a job for which that is not so simple leaves, and so does one whose last
        token is in flight."""
        step, self._behind = self._step + self._flying, True
        if self._seen:
            self._seen = False
            for job in self.jobs:
                if job.cursor.node.locks > 1 or job.cursor.node.children:  # type: ignore[union-attr]  # it runs
                    self.leave(job)
        if self._flying:
            for lane in list(self._over.get(step - 1, ())):
                self.leave(lane.job)
        for lane in self._full.pop(step, ()):
            if lane.job.lane is lane:
                self._next_block(lane)
        count = len(self.jobs)
        self._moving[:, :count] += 1
        self._table[:count, 1] += 1

    def join(self, jobs: Sequence[Job], ahead: Sequence[Job] = ()) -> None:
        """Takes in jobs that can go this way: those whose newest token is all that is missing in the tree, and those
        `ahead` whose newest token is in flight, all before it in the tree."""
        self._behind = True
        seated = list(self.jobs)
        for known, some in ((True, jobs), (False, ahead)):
            for job in some:
                if self._seat(job, len(seated), known):
                    seated.append(job)
        if len(seated) > len(self.jobs):
            self.jobs = seated
            self._changed()

    def planned(self) -> Numbers:
        """The step is planned, and is to be taken or taken back. Gives positions and slots of its rows, [2, rows]."""
        self._flying += 1
        return self._moving[:, : len(self.jobs)].copy()

    def take_back(self, jobs: Sequence[Job]) -> None:
        """The step that was planned last, with rows for these, did not happen: they leave."""
        self._flying -= 1
        for job in jobs:
            if job.lane is None:
                job.pending = False
            self.leave(job)

    def take(
        self, jobs: list[Job], drawn: Sequence[Drawn | int], now: float, recorder: Recorder
    ) -> tuple[list[tuple[Job, Drawn | int]], list[tuple[Job, Drawn | int]]]:
        """Keeps what was drawn in the oldest planned step for `jobs`, those that had rows then.

        Gives those, with what was drawn, that must hear of it now: they may be over, or hear of every token; their
        times are recorded. Then those that have left since, of which nothing is.
        """
        at, step, self._behind = self._step % self._kept, self._step, True
        tokens: Sequence[int] = drawn  # type: ignore[assignment]  # either all are numbers or none
        if not isinstance(drawn[0], int):
            tokens = [one.token for one in drawn]  # type: ignore[union-attr, misc]  # all of them draw
        left: list[tuple[Job, Drawn | int]] = []
        if jobs is not self.jobs:
            left = [(job, one) for job, one in zip(jobs, drawn, strict=True) if job.lane is None]
            found = {job: one for job, one in zip(jobs, drawn, strict=True) if job.lane is not None}
            drawn = [found.get(job, 0) for job in self.jobs]  # 0: it has come since
            tokens = [one if isinstance(one, int) else one.token for one in drawn]  # type: ignore[misc]
            count = len(found)
        else:
            count = len(tokens)
        gap = now - self._now
        self._ids[: len(tokens)] = tokens
        self._drawn[at], self._gaps[at] = tokens, gap
        new = self._new.pop(step, ())
        recorder.tokens(now, gap, count - len(new))
        for lane in new:
            times = lane.job.times
            wait = now - times.last
            times.longest = max(times.longest, wait)
            recorder.tokens(now, wait, 1)
        self._step, self._flying, self._now = step + 1, self._flying - 1, now
        lanes = {lane: None for lane in self._heard if lane.first <= step}
        lanes.update((lane, None) for lane in self._over.pop(step, ()))
        if not self._stops.isdisjoint(tokens):
            ended = (job.lane for job, token in zip(self.jobs, tokens, strict=True) if token in self._stops)
            lanes.update((lane, None) for lane in ended if lane is not None and lane.first <= step)
        stepped = self.kinds.stepped
        if lanes or jobs is not self.jobs:  # some are told anyway, or have no token in this step
            told = {lane.job for lane in lanes} | {lane.job for some in self._new.values() for lane in some}
            stepped = [its for its in stepped if its[1] not in told]
        for _, job, _ in heard(stepped, tokens):
            lanes[job.lane] = None  # type: ignore[index]  # it is here
        for lane in lanes:
            self._tell(lane, 1)
        return [(lane.job, drawn[lane.at]) for lane in lanes], left

    # -- what others see -------------------------------------------------------------------------------

    def make_room(self, size: int) -> None:
        """Arrays for at least so many rows."""
        if size <= self._size:
            return
        before = self._size
        self._size = max(size, 2 * before)
        rows, table = np.zeros((3, self._size), np.int64), np.zeros((self._size, 4), np.int64)
        draws = np.zeros(self._size, BARE)
        rows[2] = -1
        table[:, 0], table[:, 2] = np.arange(self._size), 1
        rows[:, :before], table[:before], draws[:before] = self.memory, self._table, self.draws
        self.memory, self._table, self._moving, self.draws = rows, table, rows[1:], draws
        self._ids, self._positions, self._slots = rows
        self._changed()

    def tell(self, jobs: Sequence[Job] | None = None) -> None:
        """All jobs, or those of these that are here, hear of all their tokens."""
        for job in self.jobs if jobs is None else jobs:
            if job.lane is not None:
                self._tell(job.lane)

    def settle(self) -> None:
        """All jobs, and the tree, hear of all tokens, because somebody is about to look at them or change them."""
        if self._behind:
            for job in self.jobs:
                self._settle(job.lane)  # type: ignore[arg-type]  # it is here
            self._behind = False
        self._seen = True

    def leave(self, job: Job) -> None:
        """Lets a job go, if it is here; everybody has heard of all its tokens then."""
        lane = job.lane
        if lane is None:
            return
        self._settle(lane)
        jobs, at = list(self.jobs), lane.at
        last, path, end = jobs.pop(), self._paths.pop(), len(jobs)
        if last is not job:
            assert last.lane is not None
            self._tell(last.lane)  # its tokens so far are found where it was
            jobs[at], self._paths[at], last.lane.at = last, path, at
            self.memory[:, at] = self.memory[:, end]
            self._table[at, 1:], self.draws[at] = self._table[end, 1:], self.draws[end]
        self.memory[:, end] = 0, 0, -1
        self.jobs = jobs
        self._changed()
        job.lane = job.handle.unsent = None
        if lane.claimed is not None:
            self.tree.pool.release([lane.claimed])
        if self._flying and lane.first < self._step + self._flying:
            job.pending = True
        self._heard.pop(lane, None)
        for by_step, key in ((self._new, lane.first), (self._over, lane.last)):
            if lane in by_step.get(key, ()):
                by_step[key].remove(lane)
                if not by_step[key]:
                    del by_step[key]
        if not jobs:
            for some in (self._full, self._over, self._new, self._stops):
                some.clear()

    def follow_path(self, job: Job) -> None:
        """A job's path leads further than before."""
        at = job.lane.at  # type: ignore[union-attr]  # it is here
        self._paths[at], self._table[at, 3] = job.slots, job.slots_at

    def _changed(self) -> None:
        count = len(self.jobs)
        self._kinds = None
        self.spans = Spans(self._table[:count], self._paths, count)

    # -- one lane --------------------------------------------------------------------------------------

    def _seat(self, job: Job, place: int, known: bool) -> bool:
        cursor, output, step = job.cursor, job.output, self._step + self._flying
        at = len(job.ids) - known
        left = output.limit - len(output.tokens) - (not known)
        assert cursor is not None
        if not job.draws or cursor.length != at or not left:
            return False
        slot = self.tree.append(cursor, job.ids[at]) if known else self.tree.claim(cursor)
        if slot is None:
            return False
        self.make_room(place + 1)
        self._paths.append(job.slots)
        job.lane = lane = Lane(job, place, step, step + left - 1)
        lane.claimed = None if known else slot
        self.memory[:, place] = job.ids[at] if known else 0, at, slot
        self._table[place, 1] = at
        if job.bare is not None:
            self.draws[place] = job.bare
        self._reserve(lane, at, slot)
        self._new.setdefault(step, []).append(lane)
        self._over.setdefault(lane.last, []).append(lane)
        alike = job.greedy or job.bare is not None
        if alike and output.quiet and job.handle.on_token is None and not (job.guess and job.guess.awake):
            job.handle.unsent = partial(self._unheard, lane)
            self._stops |= output.stop_ids
        else:
            self._heard[lane] = None
        return True

    def _next_block(self, lane: Lane) -> None:
        self._settle(lane)
        job, cursor = lane.job, lane.job.cursor
        assert cursor is not None
        at = cursor.length
        known = at < len(job.ids)
        slot = self.tree.append(cursor, job.ids[at]) if known else self.tree.claim(cursor)
        if slot is None:
            self.leave(job)
            return
        lane.claimed = None if known else slot
        self._slots[lane.at] = slot - 1
        self._reserve(lane, at, slot)

    def _reserve(self, lane: Lane, at: int, slot: int) -> None:
        """The job's path leads on to the end of the block in which it has got a slot."""
        job, left = lane.job, self._block - slot % self._block
        job.add_slots(at, range(slot, slot + left))
        self._paths[lane.at], self._table[lane.at, 3] = job.slots, job.slots_at
        self._full.setdefault(self._step + self._flying + left, []).append(lane)

    def _unheard(self, lane: Lane, but: int = 0) -> list[int]:
        """Tokens that the job has not heard of, but the last so many."""
        at, kept = lane.at, self._kept
        return [self._drawn[step % kept][at] for step in range(lane.heard, self._step - but)]

    def _tell(self, lane: Lane, but: int = 0) -> None:
        """The job hears of all its tokens `but` so many, the newest, of which whoever called `take` tells it."""
        if lane.heard >= self._step:
            return
        times, kept = lane.job.times, self._kept
        times.last = self._now
        times.tokens += self._step - lane.heard
        for step in range(max(lane.heard, lane.first + 1), self._step):
            if self._gaps[step % kept] > times.longest:
                times.longest = self._gaps[step % kept]
        tokens = self._unheard(lane, but)
        lane.heard = self._step
        if tokens:
            lane.job.hear(tokens)

    def _settle(self, lane: Lane) -> None:
        self._tell(lane)
        job, cursor = lane.job, lane.job.cursor
        assert cursor is not None
        if lane.claimed is not None and cursor.length < len(job.ids):
            self.tree.append(cursor, job.ids[cursor.length], lane.claimed)
            lane.claimed = None
        self.tree.append_run(cursor, job.ids[cursor.length : int(self._positions[lane.at]) + 1])
