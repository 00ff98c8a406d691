"""What a step gave is written down for all requests before anybody hears of any of it: what hooks and callbacks do
with one of them then changes nothing about what others got in the same step."""

from collections.abc import Sequence
from typing import NamedTuple

from lampc.backend.branches import Ways, walk
from lampc.backend.job import Drawn, Job
from lampc.backend.lanes import Lanes
from lampc.backend.metrics import Recorder
from lampc.backend.plan import Plan
from lampc.backend.speculation.drafts import Draft, drop_draft, keep_draft


class Taken(NamedTuple):
    """A job that may be over, or hears of every token: the token that it got, None if it wanted none; those to tell
    its owner of (a stopping id is not, what a grammar forced is), and whether it is its first."""

    job: Job
    token: int | None
    tokens: Sequence[int]
    first: bool


def take(
    plan: Plan, drawn: Sequence[Drawn | int], ways: Ways, now: float, recorder: Recorder
) -> tuple[list[Taken], int]:
    """Jobs that are to hear of what was drawn for the plan's wants and, as `ways` say, behind them, and how many tokens
    were drawn in all."""
    rows = len(plan.decoding)
    taken, count = [], 0
    others: list[tuple[Job, Drawn | int]] = []
    if rows:
        heard, others = plan.lanes.take(plan.decoding, drawn[:rows], now, recorder)
        count = rows - len(others)
        drafts = {draft.job: draft for draft in plan.drafts}
        for job, result in heard:
            one = _taken(job, result, False, plan.lanes)
            if job in drafts:
                one, more = _more(drafts[job], one, now, recorder, plan.lanes)
                count += more
            if job.output.done or job.failure or job.handle.on_token is not None:
                taken.append(one)
    if plan.other_wants:
        others += zip((want.job.owner for want in plan.other_wants), drawn[rows:], strict=True)
    for job, result in others:
        if job.handle.completion is not None:  # it ended while the step was in flight
            continue
        job.pending = False
        token = result if isinstance(result, int) else result.token
        first = token is not None and recorder.token(job.times, now)
        count += token is not None
        known = len(job.ids)
        one = _taken(job, result, first, plan.lanes)
        if job in ways and (more := walk(job, known, ways)):
            for _ in range(more):
                recorder.token(job.times, now)
            count += more
            one = one._replace(tokens=[*one.tokens, *job.untold])
            job.untold = []
            job.fast = False
        taken.append(one)
    return taken, count


def _more(draft: Draft, first: Taken, now: float, recorder: Recorder, lanes: Lanes) -> tuple[Taken, int]:
    """What the job hears of beyond its first token of the step, since guesses were right, and how many were drawn."""
    job, tree = draft.job, lanes.tree
    if not draft.found:
        drop_draft(draft, tree)
        return first, 0
    token, told, count = first.token, [*first.tokens], 0
    for drawn in draft.found:
        if job.output.done or job.failure:  # by a stop string, or the grammar
            break
        one = _taken(job, drawn, False, lanes)
        recorder.token(job.times, now)
        token, count = one.token, count + 1
        told += one.tokens
    keep_draft(draft, lanes, tree)
    return Taken(job, token, told, False), count


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
