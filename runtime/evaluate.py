"""Evaluation: a candidate's mean score over labelled rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, Module
from lampc.ir.unit import Unit
from lampc.runtime.metrics import Judgement, MetricError, RowMetric
from lampc.runtime.types import Cell, Outcome, Row, RowError, TraceStep, Usage

if TYPE_CHECKING:
    from lampc.runtime.session import Session


@dataclass(slots=True)
class Evaluation:
    """`score` is the mean of `scores` times 100; `scores`, `outcomes` stand in the order of the rows.

    A row that failed, or whose metric failed, scores `failure_score` and is in `errors`.
    """

    score: float
    scores: tuple[float, ...]
    outcomes: list[Outcome] = field(repr=False)
    errors: list[RowError] = field(default_factory=list)
    usage: Usage = Usage()


def evaluate(
    session: Session,
    program: Unit | Module,
    rows: Sequence[Row],
    metric: RowMetric,
    assignment: Assignment | None = None,
    *,
    entry: str | None = None,
    strict: bool = False,
    failure_score: float = 0.0,
    label: str = "evaluate",
) -> Evaluation:
    """Run a program on all rows at once and score it.

    A failing row or metric is a scored failure; with `strict`, a metric that raises ends the evaluation once
    all rows have run (finished calls are in the store). Raises ValueError for no rows, MetricError if `strict`.
    """
    if not rows:
        raise ValueError("there are no rows to evaluate on")
    total, done, correct = len(rows), 0, 0.0
    scored: dict[int, tuple[float, RowError | None]] = {}

    def finished(index: int, outcome: Outcome) -> None:
        nonlocal done, correct
        scored[index] = score_outcome(metric, outcome, failure_score=failure_score)
        done, correct = done + 1, correct + scored[index][0]
        session.bus.emit("progress", label=label, done=done, total=total, note=f"mean {100 * correct / done:.1f}")

    with session.measured() as used:
        outcomes = session.run_cells(program, [Cell(r, assignment or Assignment()) for r in rows], entry, finished)
    for i, outcome in enumerate(outcomes):
        if i not in scored:
            finished(i, outcome)
    scores = tuple(scored[i][0] for i in range(total))
    errors = [e for i in range(total) if (e := scored[i][1]) is not None]
    failed = next((e for e in errors if e.kind == "metric"), None)
    if strict and failed is not None:
        raise MetricError(failed.message, failed.row)
    return Evaluation(100.0 * sum(scores) / total, scores, outcomes, errors, used[0])


def score_outcome(
    metric: RowMetric, outcome: Outcome, *, traced: bool = False, failure_score: float = 0.0
) -> tuple[float, RowError | None]:
    """Score of an outcome, and why it is a failure, if it is one. With `traced` the metric sees the trace."""
    said, error = judge_outcome(metric, outcome, TRACED if traced else UNTRACED, failure_score)
    return said.score, error


UNTRACED, TRACED = -2, -1
"""What a metric is asked about: the outcome alone, the outcome with its trace; from 0 on a call, by its place there."""


def judge_outcome(
    metric: RowMetric, outcome: Outcome, about: int = UNTRACED, failure_score: float = 0.0
) -> tuple[Judgement, RowError | None]:
    """All that the metric says of an outcome, and why it is a failure, if it is one."""
    row = outcome.cell.row
    if outcome.error is not None or outcome.value is None:
        return Judgement(failure_score), outcome.error or RowError("no value", row=row.id)
    try:
        if about >= 0:
            return metric.judge_call(row, outcome.value, outcome.trace, about), None
        trace: list[TraceStep] | None = outcome.trace if about == TRACED else None
        return metric.judge(row, outcome.value, trace), None
    except MetricError as e:
        where = f"{row.path}:{row.line}" if row.path else ""
        return Judgement(failure_score), RowError(str(e), where, row.id, "metric")


Asked = tuple[RowMetric, Outcome, int]
"""A metric, an outcome, and what about it."""


def judge_outcomes(
    session: Session, asked: Sequence[Asked], spent: Callable[[Usage], None] | None = None
) -> list[tuple[Judgement, RowError | None]]:
    """What metrics say, as `judge_outcome` gives it; `spent` hears what they used.

    From the first one on whose metric asks a model, all are judged together, their calls fused; so are metrics that
    are coroutines.
    """
    from lampc.runtime.evaluation.coroutines import Aside, collecting, known, run_together
    from lampc.runtime.evaluation.watch import AsksModel, watched

    out: list[tuple[Judgement, RowError | None]] = []
    aside: dict[int, Coroutine[Any, Any, Any]] = {}
    for item in asked:
        try:
            with watched(), collecting():
                out.append(judge_outcome(*item))
        except Aside as e:
            aside[len(out)] = e.coroutine
            out.append((Judgement(0.0), None))
        except AsksModel:
            break
    if aside:
        with session.measured() as waited:
            values = run_together(list(aside.values()))
        for i, value in zip(aside, values, strict=True):
            with known(value):
                out[i] = judge_outcome(*asked[i])
        if spent is not None:
            spent(waited[0])
    if len(out) == len(asked):
        return out
    made, used = _judged(session, asked[len(out) :])
    if spent is not None:
        spent(used)
    return out + made


def _judged(session: Session, asked: Sequence[Asked]) -> tuple[list[tuple[Judgement, RowError | None]], Usage]:
    from lampc.runtime.eager import SessionCompleter
    from lampc.runtime.strands import Book, Weaver

    weaver = Weaver(SessionCompleter(session))
    strands = []
    for i, item in enumerate(asked):
        cell = item[1].cell
        book = Book(session.seed, cell.row.id, cell.rollout)
        strands.append(weaver.spawn(functools.partial(judge_outcome, *item), book, i, ("metric",)))
    weaver.run(lambda: False, lambda _: None)
    for strand in strands:
        if strand.error is not None:
            raise strand.taken()
    return [s.value for s in strands], sum((s.book.usage for s in strands), Usage())
