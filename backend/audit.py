"""Whether an engine's books are right: blocks, paths, queues. Tests ask after every step."""

from collections.abc import Mapping, Sequence

from lampc.backend.job import Job
from lampc.backend.pins import Pins
from lampc.backend.radix import RadixTree
from lampc.backend.request import State
from lampc.backend.scheduler import Scheduler


def audit(
    tree: RadixTree, pins: Pins, scheduler: Scheduler, jobs: Mapping[int, Job], others: Sequence[int] = ()
) -> None:
    """Raises AssertionError if blocks leaked, reference counts are wrong, or a job is lost. `others` are slots that
    belong to a step in flight."""
    scheduler.lanes.settle()
    cursors = [job.cursor for job in jobs.values() if job.cursor is not None] + pins.cursors()
    tree.check(cursors, [*scheduler.lanes.claimed, *others])
    queued = [*scheduler.waiting, *scheduler.running]
    assert {id(job) for job in queued} == {id(job) for job in jobs.values()}, "a job is lost"
    for job in scheduler.waiting:
        assert job.cursor is None
        assert job.handle.state in (State.WAITING, State.PREEMPTED)
    for job in scheduler.running:
        assert job.cursor is not None
        assert job.handle.state in (State.PREFILLING, State.RUNNING)
        slots = tree.slots(job.cursor)
        assert job.slots[: len(slots)].tolist() == slots, "a job's slots are stale"
    assert all(job.lane is not None and job.lane.at == at for at, job in enumerate(scheduler.lanes.jobs))
