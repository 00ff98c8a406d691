"""One step, as the scheduler hands it to whoever computes it."""

from dataclasses import dataclass, field

from lampc.backend.errors import OutOfBlocks
from lampc.backend.job import Job


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


@dataclass(slots=True)
class Plan:
    """One step: rows are numbered in the order of the chunks."""

    chunks: list[Chunk] = field(default_factory=list)
    wants: list[Want] = field(default_factory=list)
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

    def jobs(self) -> list[Job]:
        """The jobs that have rows in the step, each once."""
        return list({id(x.job): x.job for part in (self.chunks, self.wants) for x in part}.values())
