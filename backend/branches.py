"""Ways on from a place in an answer, computed in the step that draws there: a label of several tokens takes one step.

A request that says so (`Request.closed`) stands where few things can follow. The places at which those part
(`lampc.backend.grammar.places`) become further rows of the step: each a chunk of tokens after the request's own, in
slots that are given back when the step is over, and a want whose draw is the request's draw at that place: the same
key, the same index, the same mask. What is drawn at the first place leads to one of them, or to none; there the next
token is known, and so on. Rows in exact mode have the bits that they have in any other step, so these are the tokens
that would have been drawn one by one. It is a draft of a tree that is verified at once, as by Miao et al. 2024,
SpecInfer (arXiv 2305.09781), whose draft is a grammar and whose verifier is the draw itself.

The K/V of these rows is not kept: an answer that ends needs it no more, and one that goes on computes its few tokens
together with what its grammar forces next.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lampc.backend.block_pool import BlockPool
from lampc.backend.drawing import Drawing
from lampc.backend.errors import BackendError
from lampc.backend.grammar.matcher import Words, allows
from lampc.backend.grammar.places import Place, Places
from lampc.backend.job import Drawn, Job
from lampc.backend.plan import Chunk, Plan, Want
from lampc.backend.request import State

if TYPE_CHECKING:
    from concurrent.futures import Future

    from lampc.backend.output import Output
    from lampc.backend.request import Handle, Request


class Branches:
    """The branches of an engine's steps, at most `rows` rows of each step; 0: none."""

    def __init__(self, pool: BlockPool, rows: int) -> None:
        self.rows = rows
        self.slots: list[int] = []
        """Of branches in flight, for checks."""
        self._pool, self._places = pool, Places()
        self._flying: dict[int, _Grown] = {}  # by the plan's identity

    @property
    def blocks(self) -> int:
        """The most blocks that a step's branches take."""
        return self._pool.blocks_for(None, self.rows)

    def grow(self, plan: Plan, limit: int) -> None:
        """Adds rows for what may follow the draws of a plan, as far as there is room in a step of `limit` rows, and in
        blocks that nobody has."""
        room = min(self.rows, limit - plan.rows, self._pool.free * self._pool.block_size)
        wanted: list[tuple[Want, tuple[Place, ...]]] = []
        sizes: dict[_At, int] = {}  # samples of one prompt stand at the same slot: they have their rows in common
        led = {chunk.job for chunk in plan.other_chunks if chunk.end - chunk.start > 1}
        for want in plan.other_wants if room > 0 else ():
            places = self._after(want) if want.draws and want.job.request.closed and _begins(want, led) else ()
            rows = sum(place.count for place in places)
            at = _at(want, places)
            if places and (at in sizes or sum(sizes.values()) + rows <= room):
                wanted.append((want, places))
                sizes[at] = rows
        if not wanted:
            return
        slots = self._pool.extend(None, sum(sizes.values()))
        self.slots += slots
        grown = self._flying[id(plan)] = _Grown(len(plan.other_chunks), len(plan.other_wants), slots)
        rows_of: dict[_At, list[int]] = {}
        for want, places in wanted:
            rows_there = rows_of.get(_at(want, places))
            if rows_there is None:
                rows_there = rows_of[_at(want, places)] = []
                slots = self._chunks(plan, want, places, slots, rows_there)
            for place, row in zip(places, rows_there, strict=True):
                branch = Branch(want.job.owner, place)
                grown.branches.append(branch)
                plan.other_wants.append(Want(branch, len(branch.ids) - 1, [row], True))
        plan.plain = plan.bare = False

    @staticmethod
    def _chunks(plan: Plan, want: Want, places: Sequence[Place], slots: list[int], rows: list[int]) -> list[int]:
        """Chunks for places behind a want; `rows` gets the last row of each. Gives the slots that are left."""
        made: list[Branch] = []
        for place in places:
            above = made[place.above].slots if place.above >= 0 else want.job.slots[: len(want.job.ids)]
            mine, slots = slots[: place.count], slots[place.count :]
            made.append(branch := Branch(want.job.owner, place))
            branch.use(np.concatenate([above, np.array(mine, np.int64)]))
            end = len(branch.ids)
            begin = end - place.count
            plan.other_chunks.append(Chunk(branch, begin, end, begin, mine))
            plan.rows += place.count
            rows.append(plan.rows - 1)
        return slots

    def taken(self, plan: Plan, drawn: Sequence[Drawn | int]) -> tuple[Sequence[Drawn | int], "Ways"]:
        """A step gave `drawn`: that of the plan's own wants, and what is known of ways on."""
        grown = self._flying.get(id(plan))
        if grown is None:
            return drawn, {}
        self.end(plan)
        own = len(drawn) - len(grown.branches)
        ways: Ways = {}
        for branch, one in zip(grown.branches, drawn[own:], strict=True):
            token = one if isinstance(one, int) else one.token
            assert token is not None
            ways.setdefault(branch.owner, {})[branch.place.path] = branch.place.mask, token
        return drawn[:own], ways

    def end(self, plan: Plan) -> None:
        """The step is over, whatever came of it: the plan is without its branches, their slots are given back."""
        grown = self._flying.pop(id(plan), None)
        if grown is None:
            return
        del plan.other_chunks[grown.chunks :], plan.other_wants[grown.wants :]
        self._pool.release(grown.slots)
        gone = set(grown.slots)
        self.slots = [slot for slot in self.slots if slot not in gone]

    def _after(self, want: Want) -> tuple[Place, ...]:
        job = want.job.owner
        sampling = job.request.sampling  # penalties hang on the tokens before, logprobs need a row for each of them
        if job.matcher is None or job.wants_logprobs or job.shaper is not None or sampling.min_tokens:
            return ()
        room = job.output.limit - len(job.output.tokens)
        run = job.output.tokens[-_RUN:]
        found = self._places.after(job.request.grammar or "", job.matcher, run, job.output.stop_ids)
        return found if room > max((len(place.path) for place in found), default=0) else ()


def _begins(want: Want, led: Collection[Drawing]) -> bool:
    """Whether something may begin here: where an answer is first drawn from, or behind several tokens that its grammar
    led to. In the midst of a text there is no use in looking, and each look costs what a mask does."""
    return want.job in led or want.job.owner.handle.state is State.PREFILLING


_At = tuple[int, tuple[Place, ...]]


def _at(want: Want, places: tuple[Place, ...]) -> _At:
    """The slot of a want's last token, and what is behind it."""
    return int(want.job.slots[len(want.job.ids) - 1]), places


_RUN = 6
"""So many tokens of an answer say where it stands: mostly the mark of a field, which its grammar has forced."""

Ways = dict[Job, dict[tuple[int, ...], tuple[Words, int]]]
"""By the tokens from the first place on: what may be drawn behind them, and what is."""


def walk(job: Job, known: int, ways: Ways) -> int:
    """Takes the tokens that are known to follow those from `known` on; how many were drawn. A way only counts if what
    may follow there is what may follow here."""
    count, here = 0, ways.get(job, {})
    while here and not (job.output.done or job.failure):
        way = here.get(tuple(job.ids[known:]))
        try:
            if way is None or (mask := job.mask()) is None or not np.array_equal(way[0], mask):
                return count
        except BackendError:
            return count
        count += 1
        if not job.accept(way[1]):
            return count
    return count


@dataclass(slots=True)
class _Grown:
    """Of a plan: how many chunks and wants it had before, and what was added."""

    chunks: int
    wants: int
    slots: list[int]
    branches: list["Branch"] = field(default_factory=list)


class Branch:
    """A `Drawing`: the same request, some tokens further on."""

    shaper = None
    follow: tuple[int, ...] = ()
    wants_logprobs = False
    draws = True

    def __init__(self, owner: Job, place: Place) -> None:
        self.owner, self.place = owner, place
        self.handle: Handle = owner.handle
        self.request: Request = owner.request
        self.output: Output = owner.output
        self.prompt_len, self.greedy = owner.prompt_len, owner.greedy
        self.matcher = _Mask(place.mask)
        self.ids = owner.ids + list(place.path)

    def use(self, slots: NDArray[np.int64]) -> None:
        """Its K/V is in these, int64 [tokens]."""
        self.slots = slots
        self.slots_at: int = slots.__array_interface__["data"][0]

    def mask(self) -> Words:
        """Which ids may be drawn."""
        return self.place.mask


class _Mask:
    """A `Grammar`: what a matcher says at one place."""

    def __init__(self, mask: Words) -> None:
        self._mask = mask

    def offer(self, token: int) -> bool:
        """Whether a token may be drawn."""
        return allows(self._mask, token)

    def begin(self, filled: "Future[None]") -> None:
        """The mask is there."""

    def fill(self) -> None:
        """The mask is there."""

    def wait(self) -> None:
        """The mask is there."""
