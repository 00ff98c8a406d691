"""What a step gave is written down for all requests before anybody hears of any of it: what hooks and callbacks do
with one of them then changes nothing about what others got in the same step."""

from collections.abc import Sequence
from typing import NamedTuple

from lampc.backend.job import Drawn, Job
from lampc.backend.metrics import Recorder
from lampc.backend.plan import Plan


class Taken(NamedTuple):
    """A job that may be over, or hears of every token: the token that it got, None if it wanted none; whether that
    belongs to its output (a stopping id does not), and whether it is its first."""

    job: Job
    token: int | None
    belongs: bool
    first: bool


def take(plan: Plan, drawn: Sequence[Drawn | int], now: float, recorder: Recorder) -> tuple[list[Taken], int]:
    """Jobs that are to hear of what was drawn for the plan's wants, and how many tokens were drawn in all."""
    rows = len(plan.decoding)
    count = rows
    taken = []
    results = plan.lanes.take(drawn[:rows], now, recorder) if rows else []
    for job, result in results:
        taken.append(_taken(job, result, False))
    for want, result in zip(plan.other_wants, drawn[rows:], strict=True):
        token = result if isinstance(result, int) else result.token
        first = token is not None and recorder.token(want.job.times, now)
        count += token is not None
        taken.append(_taken(want.job, result, first))
    return taken, count


def _taken(job: Job, result: Drawn | int, first: bool) -> Taken:
    token: int | None
    if isinstance(result, int):
        token = result
    else:
        token = result.token
        job.record(result)
    belongs = token is not None and job.output.push(token)
    if token is not None and belongs:
        job.ids.append(token)
        job.handle.sent_before.append(token)
    return Taken(job, token, belongs, first)
