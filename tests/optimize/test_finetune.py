"""BootstrapFinetune as a fold: who runs, which calls train which model, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lampc.ir import Assignment, Demo, DemoSet, Obj
from lampc.passes.optimize import (
    TEACHER,
    BootstrapFinetune,
    Demand,
    Job,
    OptimizeError,
    Problem,
    Result,
    RunJob,
    RunResult,
    TrainJob,
    TrainResult,
    optimizer,
)
from tests.optimize.problems import drive, module, problem, trace_of


def answering(score: Callable[[int], float | None], error: str = "") -> Callable[[Job], Result]:
    """Runs with that score per row (None: it broke), trainings that name what they were given."""

    def answer(job: Job) -> Result:
        if isinstance(job, RunJob):
            found = score(job.row)
            return RunResult(0.0, (), "it broke") if found is None else RunResult(found, trace_of(job.row))
        assert isinstance(job, TrainJob)
        if error:
            return TrainResult(job.model, error=error)
        return TrainResult(f"{job.model}+{len(job.calls)}")

    return answer


def started(**options: Any) -> tuple[Any, list[Job]]:
    made = BootstrapFinetune(**options).begin(problem(6))
    assert made.demand() == Demand(6, 6)
    jobs = drive(made, answering(lambda row: float(row % 2)))
    assert made.demand() == Demand()
    return made, jobs


def test_calls_of_successful_runs_train_one_model_for_all() -> None:
    made, jobs = started()
    assert [j.row for j in jobs if isinstance(j, RunJob)] == list(range(6))
    (training,) = (j for j in jobs if isinstance(j, TrainJob))
    assert training.model == "main"
    assert training.calls == tuple(c for row in (1, 3, 5) for c in trace_of(row))
    assert dict(made.best.values) == {"first.model": "main+9", "second.model": "main+9"}
    assert [c.note for c in made.history] == ["9 calls of 3 runs, 1 adapters"]


def test_without_multitask_each_predictor_learns_its_own_calls() -> None:
    made, jobs = started(multitask=False)
    trainings = [j for j in jobs if isinstance(j, TrainJob)]
    assert [{c.predictor for c in t.calls} for t in trainings] == [{"first"}, {"second"}]
    assert dict(made.best.values) == {"first.model": "main+6", "second.model": "main+3"}


def test_each_model_is_trained_with_its_own_options() -> None:
    start = Assignment().updated(**{"second.model": "small"})
    made = BootstrapFinetune(train_kwargs={"main": {"rank": 4}, "small": {"rank": 2}}).begin(problem(2, start=start))
    jobs = drive(made, answering(lambda row: 1.0), n=1)
    assert [(j.model, dict(j.options), len(j.calls)) for j in jobs if isinstance(j, TrainJob)] == [
        ("main", {"rank": 4}, 6),
        ("small", {"rank": 2}, 6),
    ]
    assert made.best.get("second.model") == "small+6"


def test_demos_and_layout_are_those_that_are_then_used() -> None:
    start = Assignment().updated(**{"first.demos": DemoSet((Demo(Obj({"text": "a", "label": "b"})),))})
    made = BootstrapFinetune(exclude_demos=True, layout="chat").begin(problem(2, start=start))
    jobs = drive(made, answering(lambda row: 1.0))
    (training,) = (j for j in jobs if isinstance(j, TrainJob))
    for found in (training.assignment, made.best):
        assert found.get("first.demos") == DemoSet()
        assert found.get("first.layout") == found.get("second.layout") == "chat"
    assert training.assignment.get("first.model") is None
    assert all(j.assignment == start for j in jobs if isinstance(j, RunJob))


def test_a_teacher_runs_and_frozen_models_stay() -> None:
    teacher = Problem(module(), (), 0, Assignment().updated(**{"first.instruction": "Teach."}))
    made = BootstrapFinetune().begin(replace(problem(2, frozen='["model"]'), teacher=teacher))
    jobs = drive(made, answering(lambda row: 1.0))
    runs = [j for j in jobs if isinstance(j, RunJob)]
    assert {(j.program, j.assignment) for j in runs} == {(TEACHER, teacher.start)}
    assert dict(made.best.values) == {"second.model": "main+6"}


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(OptimizeError, match="none of 3 runs succeeded, so there is nothing to train on; the first fai"):
        drive(BootstrapFinetune().begin(problem(3)), answering(lambda row: None if row else 0.0))
    with pytest.raises(OptimizeError, match="finetune: no weights"):
        drive(BootstrapFinetune().begin(problem(3)), answering(lambda row: 1.0, error="no weights"))
    with pytest.raises(OptimizeError, match="has no rows to run"):
        BootstrapFinetune().begin(problem(0))
    with pytest.raises(OptimizeError, match="did you mean `exclude_demos`"):
        optimizer("finetune", {"exclude_demo": True})
    assert optimizer("finetune", {"multitask": False}) == BootstrapFinetune(multitask=False)
