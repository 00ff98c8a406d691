"""COPRO's own rules: demand, frozen parts, proposals that are missing. See also `tests/python/test_copro_dspy.py`."""

from __future__ import annotations

from typing import Any

import pytest

from lampc.ir import Obj, digest
from lampc.passes.optimize import (
    COPRO,
    CallJob,
    CallResult,
    EvaluateJob,
    EvaluateResult,
    Job,
    LabeledFewShot,
    OptimizeError,
    Result,
)
from tests.optimize.problems import drive, problem


def answer(job: Job) -> Result:
    """A candidate scores by a hash of it; writers write by number."""
    if isinstance(job, CallJob):
        return CallResult(Obj({"proposed_instruction": f"Number {job.number}, {digest(job.inputs)[:4]}."}))
    assert isinstance(job, EvaluateJob)
    return EvaluateResult((int(digest(job.assignment)[:6], 16) / 16**6,) * len(job.rows))


def cells(jobs: list[Job]) -> int:
    return sum(len(j.rows) for j in jobs if isinstance(j, EvaluateJob))


@pytest.mark.parametrize("frozen", ["[]", '["instruction"]'])
@pytest.mark.parametrize("n", [1, 5, 4096])
def test_what_is_demanded_is_what_is_made(n: int, frozen: str) -> None:
    optimizer = COPRO(breadth=4, depth=3).begin(problem(select=7, frozen=frozen))
    wanted, jobs = optimizer.demand(), list[Job]()
    assert wanted.exact
    while not optimizer.done:
        left, batch = optimizer.demand(), optimizer.ask(n)
        for job in batch:
            optimizer.tell(job, answer(job))
        jobs += batch
        assert left.most - cells(batch) == optimizer.demand().most == optimizer.demand().least
        assert left.calls - sum(isinstance(j, CallJob) for j in batch) == optimizer.demand().calls
    assert cells(jobs) == wanted.most == 7 * (2 * (4 + 8 + 12) if frozen == "[]" else 3 * 4)
    assert wanted.calls == sum(isinstance(j, CallJob) for j in jobs)


def test_a_sweep_is_scored_together_and_small_asks_give_the_same() -> None:
    wide, narrow = (COPRO(breadth=4, depth=2).begin(problem()) for _ in range(2))
    sizes = []
    while not wide.done:
        batch = wide.ask(4096)
        sizes.append(len(batch))
        for job in batch:
            wide.tell(job, answer(job))
    assert sizes == [6, 4, 4, 8, 8, 8]  # proposals for both predictors, then a sweep of each
    drive(narrow, answer, 1)
    assert (wide.best, wide.history) == (narrow.best, narrow.history)


def test_the_best_that_was_scored_is_the_result() -> None:
    optimizer = COPRO(breadth=5, depth=3).begin(problem())
    drive(optimizer, answer)
    top = max(c.score or 0.0 for c in optimizer.history)
    assert optimizer.best in [c.assignment for c in optimizer.history if c.score == top]
    assert {dict(c.facts)["depth"] for c in optimizer.history} == {0, 1, 2}


def test_frozen_instructions_and_demos_stay() -> None:
    start = LabeledFewShot(k=2).begin(problem()).best
    optimizer = COPRO(breadth=4, depth=2).begin(problem(frozen='["instruction"]', start=start))
    jobs = drive(optimizer, answer)
    asked = [j.assignment for j in jobs if isinstance(j, EvaluateJob)]
    assert len(asked) == 8  # only one predictor changes: what was scored is not scored again
    assert all(a.get("first.instruction") is None for a in asked)
    assert all(a.get("first.demos") == start.get("first.demos") for a in asked)


def test_a_writer_sees_what_was_tried_the_best_last() -> None:
    optimizer = COPRO(breadth=3, depth=2).begin(problem(frozen='["instruction"]'))
    jobs = drive(optimizer, answer)
    (first, *_), (later, *_) = (
        [j for j in jobs if isinstance(j, CallJob) and name in j.inputs]
        for name in ("basic_instruction", "attempted_instructions")
    )
    assert first.inputs["basic_instruction"] == "Say why."
    tried = sorted(optimizer.history[:3], key=lambda c: c.score or 0.0)
    shown = str(later.inputs["attempted_instructions"])
    places = [shown.index(str(dict(c.facts)["instruction"])) for c in tried]
    assert places == sorted(places)
    numbers = [j.number for j in jobs if isinstance(j, CallJob)]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("proposer", ["edits", "templates", ["A.", "B.", "C.", "D.", "E."]])
def test_no_model_is_needed(proposer: Any) -> None:
    given = {"pool": proposer} if isinstance(proposer, list) else {"proposer": proposer}
    optimizer = COPRO(breadth=3, depth=3, **given).begin(problem())
    wanted = optimizer.demand()
    jobs = drive(optimizer, answer)
    assert all(isinstance(j, EvaluateJob) for j in jobs)
    assert wanted.calls == 0
    assert wanted.least <= cells(jobs) <= wanted.most
    said = {dict(c.facts)["instruction"] for c in optimizer.history if dict(c.facts)["predictor"] == "first"}
    assert len(said) == (1 if proposer == "edits" else 6 if isinstance(proposer, list) else 9)  # `Label it.`: no edits


def test_proposals_that_are_missing_are_left_out() -> None:
    def failing(job: Job) -> Result:
        return CallResult(Obj(), "", "unreadable") if isinstance(job, CallJob) and job.number % 2 else answer(job)

    optimizer = COPRO(breadth=4, depth=2).begin(problem())
    assert cells(drive(optimizer, failing)) < optimizer.problem.select_size * 2 * 12
    silent = COPRO(breadth=4, depth=2).begin(problem())
    drive(silent, lambda job: CallResult(Obj(), "", "no") if isinstance(job, CallJob) else answer(job))
    assert {dict(c.facts)["instruction"] for c in silent.history} == {"Label it.", "Say why."}


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"breadth": 1}, {}, "`breadth` is 1; it must be greater than 1"),
        ({"depth": 0}, {}, "`depth` is 0"),
        ({"proposer": "gpt"}, {}, "there is no proposer `gpt`; known: pool, templates, edits, attempts"),
        ({"prompt_model": "big"}, {}, "the program defines no model `big`"),
        ({}, {"select": 0}, "split `dev` has no rows"),
    ],
)
def test_what_does_not_go_is_said(options: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizeError, match=message):
        COPRO(**options).begin(problem(**given))
