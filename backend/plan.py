"""One step, as the scheduler hands it to whoever computes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lampc.backend.copies import Copies
from lampc.backend.errors import OutOfBlocks
from lampc.backend.grammar.matcher import Matcher
from lampc.backend.job import Drawn, Job
from lampc.backend.lanes import Lanes


@dataclass(slots=True)
class Chunk:
    """Positions [start, end) of a job go through the model; K/V of those from `write_from` on is stored."""

    job: Job
    start: int
    end: int
    write_from: int


@dataclass(slots=True)
class Want:
    """A job needs the logits of some rows of the step; `rows[i]` belongs to its position `start + i`."""

    job: Job
    start: int
    rows: list[int]

    @property
    def draws(self) -> bool:
        """Whether a token is drawn after the last of the rows."""
        return self.job.draws and self.start + len(self.rows) == len(self.job.ids)


@dataclass(slots=True)
class Plan:
    """One step: rows are numbered in the order of the chunks.

    `decoding` are jobs that compute their newest token and want its logits, as `lanes` has them: row i is that of
    decoding[i]. They are nearly all of nearly every step, so that no objects are made for them unless somebody asks.
    The others come after them. `plain`: all that is wanted are the likeliest tokens. Whoever computes the step makes
    the `copies` before, if there are any.
    """

    lanes: Lanes
    decoding: list[Job] = field(default_factory=list)
    plain: bool = True
    other_chunks: list[Chunk] = field(default_factory=list)
    other_wants: list[Want] = field(default_factory=list)
    rows: int = 0
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

    @property
    def chunks(self) -> list[Chunk]:
        """Everything that goes through the model, before what is drawn is added to the jobs."""
        self.lanes.tell()
        ends = [len(job.ids) for job in self.decoding]
        return [Chunk(job, n - 1, n, n - 1) for job, n in zip(self.decoding, ends, strict=True)] + self.other_chunks

    @property
    def wants(self) -> list[Want]:
        """Everything that is wanted of it."""
        self.lanes.tell()
        return [Want(job, len(job.ids) - 1, [i]) for i, job in enumerate(self.decoding)] + self.other_wants

    def matchers(self) -> list[Matcher]:
        """The grammars of jobs that draw a token in the step."""
        drawing = (want.job for want in self.other_wants if want.draws)
        return [job.matcher for job in (*self.decoding, *drawing) if job.matcher is not None]

    @property
    def greedy(self) -> bool:
        """Whether all that is wanted are the likeliest tokens, maybe of those that grammars take."""
        jobs = (*self.decoding, *(want.job for want in self.other_wants if want.draws))
        return len(jobs) == len(self.decoding) + len(self.other_wants) and all(job.greedy for job in jobs)

    def jobs(self) -> list[Job]:
        """The jobs that have rows in the step, each once."""
        others = (x.job for part in (self.other_chunks, self.other_wants) for x in part)
        return list({id(job): job for job in (*self.decoding, *others)}.values())


class Runner(Protocol):
    """Executes a plan: stores K/V of its rows, returns one `Drawn` per want, in order, or its token alone."""

    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        """One step. Any exception means that nothing of the plan counts."""
        ...
