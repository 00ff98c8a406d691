"""Evaluation: scores row by row, failures kept, progress told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lampc.ir import Assignment
from lampc.runtime.evaluate import Evaluation, evaluate
from lampc.runtime.events import Event
from lampc.runtime.metrics import MetricError, build_metric
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.runtime.tuning import DEV, Counting, engine, metric, unit


def run(rows: list[Row], measure: Any = None, **more: Any) -> Evaluation:
    with Session(model=engine()) as session:
        return evaluate(session, unit(), rows, measure or metric(), **more)


def test_the_score_is_the_mean_over_rows() -> None:
    got = run(DEV)
    right = [sum(map(ord, r.inputs["text"])) % 3 == 0 for r in DEV]
    assert got.scores == tuple(map(float, right))
    assert got.score == pytest.approx(100 * sum(right) / len(right))
    assert [o.cell.row for o in got.outcomes] == DEV
    assert got.usage.calls == len(DEV)
    assert got.errors == []


def test_a_candidate_is_scored_under_its_parameters() -> None:
    better = Assignment().updated(**{"p.instruction": "Reverse the word."})
    assert run(DEV, assignment=better).score > run(DEV).score


def test_a_failing_row_scores_as_a_failure_and_is_kept() -> None:
    got = run([DEV[0], Row("x", {}, {"label": "y"}, "t.csv", 9)], failure_score=0.25)
    assert got.scores[1] == 0.25
    (error,) = got.errors
    assert (error.row, "`text` is missing" in error.message) == ("x", True)


def test_a_metric_that_raises_loses_nothing() -> None:
    def brittle(gold: str, pred: str) -> float:
        return 1.0 / int(gold != DEV[2].labels["label"])

    got = run(DEV, build_metric(brittle))
    assert sum(got.scores) == len(DEV) - 1
    (error,) = got.errors
    assert error.kind == "metric"
    assert error.where == "t.csv:16"
    assert "failed on row 14 (t.csv:16): ZeroDivisionError" in error.message
    assert str(error) == error.message, "which says row and place already"
    assert str(replace(error, row="1")) == f"{error.message} (row 1)"
    assert str(replace(error, message="no")) == "t.csv:16: no (row 14)"
    reply = Counting()
    with Session(model=engine(reply)) as session:
        with pytest.raises(MetricError, match="row 14"):
            evaluate(session, unit(), DEV, build_metric(brittle), strict=True)
        calls = reply.calls
        assert session.desk.books.cache is not None
        assert len(session.desk.books.cache) == calls == len(DEV)
        evaluate(session, unit(), DEV, metric())
        assert reply.calls == calls  # everything had been kept


def test_progress_counts_every_row() -> None:
    events: list[Event] = []
    with Session(model=engine()) as session:
        session.bus.subscribe(events.append)
        evaluate(session, unit(), DEV, metric(), label="dev")
    progress = [e.data for e in events if e.kind == "progress"]
    assert [p["done"] for p in progress] == list(range(1, len(DEV) + 1))
    assert {(p["label"], p["total"]) for p in progress} == {("dev", len(DEV))}


def test_no_rows_are_an_error() -> None:
    with pytest.raises(ValueError, match="no rows to evaluate on"):
        run([])
