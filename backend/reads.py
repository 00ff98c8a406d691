"""What attention reads, told to whoever asks: which keys, for which requests together, by which kernel.

Nothing of this runs unless somebody watches; then each step is planned a second time, for the eye alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lampc.backend.errors import Unsupported
from lampc.backend.job import Drawn
from lampc.backend.plan import Pending, Plan
from lampc.backend.spans import Span

if TYPE_CHECKING:
    from lampc.backend.api import TokenEngine
    from lampc.backend.request import Handle

Member = tuple[int, int, int]
"""Queries of a span: its place in the step, the first position, how many there are."""


@dataclass(frozen=True, slots=True)
class Read:
    """Keys begin .. end - 1, which `kernel` reads once for all `members`.

    `nbytes` are those of K, V and their scales in all layers that read so, and in all K/V heads that are kept here (of
    a rank: its own). What pads a stretch to whole tiles is left out.
    """

    kernel: str
    begin: int
    end: int
    members: tuple[Member, ...]
    nbytes: int

    @property
    def spans(self) -> tuple[int, ...]:
        """The spans that read these keys together, each once."""
        return tuple(dict.fromkeys(span for span, _, _ in self.members))


@dataclass(frozen=True, slots=True)
class StepReads:
    """Of one step: for each span its request, its first position and its count; and what is read for them.

    A model over several `ranks` is told as the first of them has it.
    """

    spans: tuple[tuple["Handle", int, int], ...]
    reads: tuple[Read, ...]
    ranks: int = 1


Tell = Callable[[StepReads], None]


def watch_reads(engine: "TokenEngine", tell: Tell) -> Callable[[], None]:
    """Has `tell` called before each step from now on; what is returned ends that.

    Raises Unsupported for an engine without paged attention, or one that is watched or closed.
    """
    from lampc.backend.core import EngineCore

    runner: Any = engine._runner if isinstance(engine, EngineCore) else None
    if not (hasattr(runner, "reads") or hasattr(runner, "_attention")):
        raise Unsupported(f"there is no paged attention to watch in this {type(engine).__name__}")
    assert isinstance(engine, EngineCore)
    core = engine
    kind = _WatchedLaunches if hasattr(type(runner), "launch") else _Watched
    core._runner = watched = kind(runner, tell)

    def end() -> None:
        if core._runner is watched:
            core._runner = runner

    return end


class _Watched:
    """A runner whose steps are told before they are run."""

    def __init__(self, runner: Any, tell: Tell) -> None:
        self._plain, self._tell = runner, tell

    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        """See `lampc.backend.plan.Runner`."""
        self._watch(plan)
        drawn: Sequence[Drawn | int] = self._plain.execute(plan)
        return drawn

    def _watch(self, plan: Plan) -> None:
        spans, about, row = [], [], 0
        for chunk in plan.chunks:
            job, count = chunk.job, chunk.end - chunk.start
            spans.append(Span(row, chunk.start, count, job.slots))
            about.append((job.handle, chunk.start, count))
            row += count
        runner = self._plain
        reads = runner.reads(plan) if hasattr(runner, "reads") else runner._attention.reads(spans)
        ranks = runner.share.group.ranks if hasattr(runner, "share") else 1
        self._tell(StepReads(tuple(about), tuple(reads), ranks))


class _WatchedLaunches(_Watched):
    """One that launches steps ahead."""

    def launch(self, plan: Plan, before: Pending | None) -> Pending:
        """See `lampc.backend.plan.LaunchingRunner`."""
        self._watch(plan)
        pending: Pending = self._plain.launch(plan, before)
        return pending


def members_of(rows: NDArray[np.int64], spans: Sequence[Span]) -> tuple[Member, ...]:
    """Which queries the rows of a step are, in the order of spans, which is that of their rows."""
    rows = np.sort(rows)
    firsts = np.array([span.first for span in spans], np.int64)
    owners = np.searchsorted(firsts, rows, "right") - 1
    cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(owners) != 0)) + 1
    found = []
    for part, owner in zip(np.split(rows, cuts), np.split(owners, cuts), strict=True):
        span = spans[int(owner[0])]
        found.append((int(owner[0]), span.start + int(part[0]) - span.first, len(part)))
    return tuple(found)


def joined(reads: Iterable[Read]) -> list[Read]:
    """Reads of neighbouring keys by the same queries, one after the other, as one."""
    found: list[Read] = []
    for read in reads:
        last = found[-1] if found else None
        if last and (last.kernel, last.end, last.members) == (read.kernel, read.begin, read.members):
            found[-1] = Read(read.kernel, last.begin, read.end, read.members, last.nbytes + read.nbytes)
        else:
            found.append(read)
    return found
