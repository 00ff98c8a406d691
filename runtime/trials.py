"""Which cells each trial wanted, and where they came from: the rows of the trial matrix that reports draw.

A trial is what an optimizer asked to be run under one candidate at a time. Of the cells that it wanted, `computed` are
those that no earlier trial of this optimization had wanted, `reused` the others, `cut` those that were not run,
because the budget was spent or the candidate fell behind in a race. That follows from the optimization alone: a
resumed one has the same trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lampc.passes.optimize import EvaluateJob, EvaluateResult, FeedbackJob, Job, Result, RunJob, RunResult

COMPUTED, REUSED, CUT = "c", "r", "x"
_PLAIN = ("step", "kind", "candidate", "split", "cells", "errors", "tokens", "seconds")


@dataclass(frozen=True, slots=True)
class Trial:
    """`cells` has a letter (`c`, `r`, `x`) for each of `rows`, indices into `split`; `scores` (a score per row, in the
    metric's units) are there if nothing was cut. `kind` is `evaluate`, `run` (for traces) or `teach` (runs of a
    teacher); `candidate` is the identity of the parameters, empty for runs that differ in them.
    `seconds` is when it had ended, since this process began: no part of what a trial is."""

    step: str
    kind: str
    candidate: str
    split: str
    rows: tuple[int, ...]
    cells: str
    scores: tuple[float, ...] = ()
    errors: int = 0
    tokens: int = 0
    seconds: float = field(default=0.0, compare=False)

    @property
    def wanted(self) -> int:
        return len(self.rows)

    @property
    def computed(self) -> int:
        return self.cells.count(COMPUTED)

    @property
    def reused(self) -> int:
        return self.cells.count(REUSED)

    @property
    def cut(self) -> int:
        return self.cells.count(CUT)

    def record(self) -> dict[str, Any]:
        """As JSON has it, with the counts."""
        counts = {n: getattr(self, n) for n in ("wanted", "computed", "reused", "cut")}
        own = {n: getattr(self, n) for n in _PLAIN}
        return {**own, "rows": list(self.rows), "scores": list(self.scores), **counts}

    @staticmethod
    def read(record: Mapping[str, Any]) -> Trial:
        known = {n: record[n] for n in _PLAIN if n in record}
        return Trial(**known, rows=tuple(record["rows"]), scores=tuple(record["scores"]))


def trials_of(
    step: str, jobs: Sequence[Job], states: Sequence[str], results: Sequence[Result | None], candidates: Sequence[str]
) -> list[Trial]:
    """The trials of jobs that were asked for together: one of each evaluation, one of all runs of a kind. `states` are
    the letters of each job's cells, `candidates` the identities of their parameters."""
    out: list[Trial] = []
    runs: dict[tuple[str, str], list[int]] = {}
    for i, (job, result) in enumerate(zip(jobs, results, strict=True)):
        if isinstance(job, EvaluateJob):
            made = Trial(step, "evaluate", candidates[i], job.split, job.rows, states[i])
            out.append(made if not isinstance(result, EvaluateResult) else _scored(made, result))
        elif isinstance(job, RunJob | FeedbackJob):
            run = job if isinstance(job, RunJob) else job.run
            runs.setdefault(("teach" if run.program else "run", run.split), []).append(i)
    for (kind, split), places in runs.items():
        asked = [j.run if isinstance(j, FeedbackJob) else j for j in (jobs[i] for i in places)]
        assert all(isinstance(j, RunJob) for j in asked)
        told = [r for i in places if isinstance(r := results[i], RunResult)]
        one = {candidates[i] for i in places}
        out.append(
            Trial(
                step,
                kind,
                one.pop() if len(one) == 1 else "",
                split,
                tuple(j.row for j in asked if isinstance(j, RunJob)),
                "".join(states[i] for i in places),
                tuple(r.score for r in told) if len(told) == len(places) else (),
                sum(r.error is not None for r in told),
                sum(r.tokens for r in told),
            )
        )
    return out


def trial_cut(step: str, job: EvaluateJob, candidate: str) -> Trial:
    """Of scores that a race made unneeded."""
    return Trial(step, "evaluate", candidate, job.split, job.rows, CUT * len(job.rows))


def _scored(trial: Trial, result: EvaluateResult) -> Trial:
    return Trial(
        trial.step, trial.kind, trial.candidate, trial.split, trial.rows, trial.cells, result.scores, result.errors,
        sum(result.tokens),
    )  # fmt: skip


__all__ = ["COMPUTED", "CUT", "REUSED", "Trial", "trial_cut", "trials_of"]
