"""What a step gave is written down for all requests before anybody hears of any of it: what hooks and callbacks do
with one of them then changes nothing about what others got in the same step."""

from collections.abc import Sequence
from typing import NamedTuple

from lampc.backend.job import Drawn, Job
from lampc.backend.lanes import Lanes
from lampc.backend.metrics import Recorder
from lampc.backend.plan import Plan


class Taken(NamedTuple):
    """A job that may be over, or hears of every token: the token that it got, None if it wanted none; those to tell
    its owner of (a stopping id is not, what a grammar forced is), and whether it is its first."""

    job: Job
    token: int | None
    tokens: Sequence[int]
    first: bool


def take(plan: Plan, drawn: Sequence[Drawn | int], now: float, recorder: Recorder) -> tuple[list[Taken], int]:
    """Jobs that are to hear of what was drawn for the plan's wants, and how many tokens were drawn in all."""
    rows = len(plan.decoding)
    count = rows
    taken = []
    results = plan.lanes.take(drawn[:rows], now, recorder) if rows else []
    for job, result in results:
        one = _taken(job, result, False, plan.lanes)
        if job.output.done or job.failure or job.handle.on_token is not None:
            taken.append(one)
    for want, result in zip(plan.other_wants, drawn[rows:], strict=True):
        token = result if isinstance(result, int) else result.token
        first = token is not None and recorder.token(want.job.times, now)
        count += token is not None
        taken.append(_taken(want.job, result, first, plan.lanes))
    return taken, count


def _taken(job: Job, result: Drawn | int, first: bool, lanes: Lanes) -> Taken:
    token: int | None
    if isinstance(result, int):
        token = result
    else:
        token = result.token
        job.record(result)
    known = len(job.ids)
    tokens: Sequence[int] = (token,) if token is not None and job.accept(token) else ()
    if job.matcher is not None:
        tokens, job.untold = job.untold, []
        if len(job.ids) > known + 1:  # they are computed all at once
            lanes.leave(job)
            job.fast = False
    return Taken(job, token, tokens, first)
