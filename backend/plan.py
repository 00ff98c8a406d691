"""One step, as the scheduler hands it to whoever computes it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lampc.backend.bare_draws import needs_mask
from lampc.backend.copies import Copies
from lampc.backend.drawing import Drawing, Grammar
from lampc.backend.errors import OutOfBlocks
from lampc.backend.grammar.matcher import refusing
from lampc.backend.job import Drawn, Job
from lampc.backend.lanes import Lanes
from lampc.backend.speculation.drafts import Draft


@dataclass(slots=True)
class Chunk:
    """Positions [start, end) of a job go through the model; K/V of those from `write_from` on is stored, in `slots`
    (that of `start` first). Their tokens are the job's ids, unless all are guesses, `draft`."""

    job: Drawing
    start: int
    end: int
    write_from: int
    slots: list[int]
    draft: list[int] | None = None

    @property
    def ids(self) -> list[int]:
        """The tokens."""
        return self.job.ids[self.start : self.end] if self.draft is None else self.draft


@dataclass(slots=True)
class Want:
    """A job needs the logits of some rows of the step; `rows[i]` belongs to its position `start + i`. From the last of
    them its next token is drawn, if `draws`."""

    job: Drawing
    start: int
    rows: list[int]
    draws: bool

    @property
    def index(self) -> int:
        """Which of the job's generated tokens is drawn."""
        return self.start + len(self.rows) - self.job.prompt_len


@dataclass(slots=True)
class Plan:
    """One step: rows are numbered in the order of the chunks.

    `decoding` are jobs that compute their newest token and want its logits, as `lanes` had them when the plan was made:
    row i is that of decoding[i], of position places[0, i], and stores to slot places[1, i]. They are nearly all of
    nearly every step, so that no objects are made for them unless somebody asks. The others come after them. `plain`:
    all that is wanted are the likeliest tokens; `greedy`: those that are the likeliest of what grammars take; `bare`:
    those that are drawn from rows as they are, or under masks, see `lampc.backend.bare_draws`. Whoever computes the
    step makes the `copies` before, if there are any, and notes in `drafts` what they come to.
    """

    lanes: Lanes
    decoding: list[Job] = field(default_factory=list)
    places: NDArray[np.int64] | None = None
    plain: bool = True
    greedy: bool = True
    bare: bool = True
    other_chunks: list[Chunk] = field(default_factory=list)
    other_wants: list[Want] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)  # their rows are wanted after all others
    rows: int = 0
    yielding: int = 0  # of these, rows of prompts that yield
    row_of: dict[int, int] = field(default_factory=dict)  # slot -> row, where several requests may hold it
    starved: list[tuple[Job, OutOfBlocks]] = field(default_factory=list)
    admitted: list[Job] = field(default_factory=list)
    preempted: list[Job] = field(default_factory=list)
    partly: list[Job] = field(default_factory=list)  # have not computed all that they know
    prefilled: list[Job] = field(default_factory=list)  # and now they have
    cached: int = 0
    computed: int = 0
    before: list[tuple[Job, int, int, int]] = field(default_factory=list)  # counts, to take them back
    copies: Copies | None = None
    brought: list[int] = field(default_factory=list)  # slots that copies fill, where the step before is in flight

    @property
    def positions(self) -> list[int]:
        """Of the rows of `decoding`."""
        found: list[int] = [] if self.places is None else self.places[0].tolist()
        return found

    @property
    def slots(self) -> list[int]:
        """That the rows of `decoding` store to."""
        found: list[int] = [] if self.places is None else self.places[1].tolist()
        return found

    @property
    def chunks(self) -> list[Chunk]:
        """Everything that goes through the model; jobs have heard then of all tokens that are here."""
        self.lanes.tell()
        mine = zip(self.decoding, self.positions, self.slots, strict=True)
        return [Chunk(job, n, n + 1, n, [slot]) for job, n, slot in mine] + self.other_chunks

    @property
    def wants(self) -> list[Want]:
        """Everything that is wanted of it."""
        self.lanes.tell()
        at = enumerate(self.positions)
        return [Want(job, n, [i], True) for job, (i, n) in zip(self.decoding, at, strict=True)] + self.other_wants

    def matchers(self, proposes: bool) -> list[Grammar]:
        """The grammars of jobs that draw a token in the step, of which masks are needed: see
        `lampc.backend.proposals`, for a runner that `proposes`."""
        drawing = (*self.decoding, *(want.job for want in self.other_wants if want.draws))
        asked = proposes and self.bare and not self.drafts
        kept = (job for job in drawing if not asked or needs_mask(job.request.sampling))
        return [job.matcher for job in kept if job.matcher is not None]

    @property
    def proposes(self) -> bool:
        """Whether any grammar may refuse a token."""
        return bool(self.lanes.kinds.asked) or any(want.job.matcher is not None for want in self.other_wants)

    def refused(self, tokens: Sequence[int], odd: Collection[int] = ()) -> list[tuple[int, Drawing]]:
        """Which wants of a `greedy` or `bare` plan are of jobs whose grammars refuse their token when it is offered,
        and these jobs; also those of grammars that are not asked, as a mask is needed, or the row is `odd`."""
        if not (odd or self.other_wants) and self.decoding is self.lanes.jobs:
            kinds = self.lanes.kinds
            refused = refusing(kinds.asked, tokens)
            return [(i, job) for i, job, _ in refused] + kinds.masked if refused else kinds.masked
        jobs = (*self.decoding, *(want.job for want in self.other_wants))
        kept = ((i, job, job.matcher) for i, job in enumerate(jobs) if job.matcher is not None)
        return [
            (i, job)
            for i, job, matcher in kept
            if i in odd or needs_mask(job.request.sampling) or not matcher.offer(tokens[i])
        ]

    def jobs(self) -> list[Job]:
        """The jobs that have rows in the step, each once."""
        others = (x.job.owner for part in (self.other_chunks, self.other_wants) for x in part)
        return list({id(job): job for job in (*self.decoding, *others)}.values())

    def sources(self, before: "Plan") -> NDArray[np.int64]:
        """For each row of decoding[i] which of the wants of `before`, the step in flight, draws its token; -1: none,
        the token is known."""
        count = len(self.decoding)
        if self.decoding is before.decoding:
            return np.arange(count)
        drawn: dict[Drawing, int] = {job: i for i, job in enumerate(before.decoding)}
        drawn.update((want.job, i) for i, want in enumerate(before.other_wants, len(before.decoding)) if want.draws)
        return np.fromiter((drawn.get(job, -1) for job in self.decoding), np.int64, count)


class Pending(Protocol):
    """A step that was launched."""

    @property
    def plan(self) -> Plan:
        """What it computes."""
        ...

    def drawn(self) -> Sequence[Drawn | int]:
        """Waits for the step: one `Drawn` per want, in order, or its token alone. Any exception means that nothing of
        the plan counts."""
        ...


class Runner(Protocol):
    """Executes a plan: stores K/V of its rows, returns one `Drawn` per want, in order, or its token alone."""

    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        """One step. Any exception means that nothing of the plan counts."""
        ...


class LaunchingRunner(Runner, Protocol):
    """A runner that can launch a step before the tokens of the one before have reached the host."""

    def launch(self, plan: Plan, before: Pending | None) -> Pending:
        """Has a step computed after all that were launched earlier. Where `plan.sources(before.plan)` names a want, the
        id of the row is what is drawn for that; the host's is not to be used. What the plan refers to may change as
        soon as this returns."""
        ...
