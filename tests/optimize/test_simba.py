"""SIMBA by itself: what a step asks for, demos and rules, what is left alone, what it will cost. Its search is held
against DSPy's in `tests/python/test_dspy_simba.py`."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import pytest

from lampc.ir import Assignment, Demo, DemoSet, Obj, parse_module, print_module
from lampc.passes.optimize import (
    CallJob,
    CallResult,
    EvaluateJob,
    EvaluateResult,
    Job,
    OptimizeError,
    Result,
    RunJob,
    RunResult,
)
from lampc.passes.optimize.simba import SIMBA
from lampc.passes.optimize.simba_rules import MISSING, contrast
from lampc.passes.optimize.simba_run import Ascent
from tests.optimize.problems import drive, problem, trace_of


def skill(assignment: Assignment) -> float:
    """Better with each demo and each rule."""
    demos = [v for k, v in assignment.values.items() if k.endswith(".demos") and isinstance(v, DemoSet)]
    rules = sum(str(v).count("then") for k, v in assignment.values.items() if k.endswith(".instruction"))
    return min(1.0, 0.2 + 0.05 * sum(len(d.items) for d in demos) + 0.2 * rules)


def answer(job: Job) -> Result:
    match job:
        case EvaluateJob():
            luck = [random.Random(f"{job.assignment} {r}").random() for r in job.rows]
            return EvaluateResult(tuple(float(x < skill(job.assignment)) for x in luck))
        case RunJob():
            luck = random.Random(f"{job.row} {job.rollout}").random()
            return RunResult(float(luck < skill(job.assignment)), trace_of(job.row, job.rollout), feedback="hm")
        case CallJob():
            return CallResult(Obj({"discussion": "", "module_advice": Obj({"first": "If it rains, then stay in."})}))
    raise AssertionError(job)


def small(**options: Any) -> SIMBA:
    return SIMBA(**{"bsize": 6, "num_candidates": 3, "max_steps": 4, **options})


def test_the_runs_of_a_step_are_asked_for_in_one_go() -> None:
    optimizer = small().begin(problem(10))
    jobs = optimizer.ask(4096)
    assert len(jobs) == 18
    assert [(j.rollout, j.temperature, j.traced) for j in jobs if isinstance(j, RunJob)][::6] == [
        (0, 1.0, False), (1, 1.0, False), (2, 1.0, False),
    ]  # fmt: skip
    assert optimizer.ask(4096) == []
    for job in jobs:
        optimizer.tell(job, answer(job))
    following = optimizer.ask(4096)
    assert {type(j) for j in following} <= {CallJob, EvaluateJob}
    assert len(following) in range(1, 5)


@pytest.mark.parametrize("options", [{}, {"rules": False}, {"max_demos": 0}])
def test_it_climbs_and_how_many_jobs_are_taken_at_a_time_makes_no_difference(options: dict[str, Any]) -> None:
    made = [small(max_steps=6, **options).begin(problem(14)) for _ in range(2)]
    drive(made[0], answer)
    drive(made[1], answer, n=1)
    assert made[0].history == made[1].history
    assert skill(made[0].best) > skill(Assignment())
    last = {made[0].pool[place].assignment: mean for place, mean in made[0].finals}
    assert last[made[0].best] == max(last.values())


def test_without_rules_no_model_writes_and_without_demos_there_are_none() -> None:
    jobs = drive(small(rules=False).begin(problem(10)), answer)
    assert not [j for j in jobs if isinstance(j, CallJob)]
    optimizer = small(max_demos=0).begin(problem(10))
    jobs = drive(optimizer, answer)
    assert [j for j in jobs if isinstance(j, CallJob)]
    assert all(k.endswith(".instruction") for c in optimizer.history for k in c.assignment.values)


def test_frozen_parameters_are_left_alone() -> None:
    for frozen, kept in (('["instruction"]', "first.instruction"), ('["demos"]', "first.demos")):
        optimizer = small(max_steps=6).begin(problem(10, frozen=frozen))
        drive(optimizer, answer)
        names = {k for c in optimizer.history for k in c.assignment.values}
        assert kept not in names
        assert len(names) > 1


def test_demos_are_the_last_calls_of_a_good_run_and_long_inputs_are_cut() -> None:
    optimizer = small(rules=False, demo_input_field_maxlen=3).begin(problem(10))
    drive(optimizer, answer)
    found = [c.assignment for c in optimizer.history if "first.demos" in c.assignment.values]
    first, second = (found[0].get(f"{n}.demos").items[-1] for n in ("first", "second"))  # type: ignore[union-attr]
    assert first.augmented
    assert str(first.values["label"]).startswith("b")  # of its two calls the second
    assert re.fullmatch(r"a\d\. \.\.\. \(cut short\)", first.values["text"])
    assert set(second.values) == {"text", "label", "why"}


def test_demos_beyond_what_a_predictor_may_hold_are_dropped() -> None:
    items = tuple(Demo(Obj({"text": f"x{i}", "label": "y"})) for i in range(4))
    start = Assignment(Obj({"first.demos": DemoSet(items)}))
    optimizer = small(max_demos=2, rules=False).begin(problem(10, start=start))
    drive(optimizer, answer)
    sizes = [len(c.assignment.get("first.demos").items) for c in optimizer.history[1:]]  # type: ignore[union-attr]
    assert min(sizes) <= 4
    assert all(s <= 4 for s in sizes)  # one more each time, and then at least one less


def test_a_teacher_makes_the_first_run_of_each_row() -> None:
    big = 'prog.def_model @big() {source = "x"} : ()\n  prog.def_predictor @first'
    text = print_module(problem(10).module).replace("prog.def_predictor @first", big, 1)
    optimizer = small(teacher_model="big").begin(replace(problem(10), module=parse_module(text)))
    jobs = [j for j in optimizer.ask(100) if isinstance(j, RunJob)]
    assert {j.assignment.get("first.model") for j in jobs[:6]} == {"big"}
    assert {j.temperature for j in jobs[:6]} == {None}
    assert {j.assignment.get("first.model") for j in jobs[6:]} == {None}


# -- rules ------------------------------------------------------------------------------------------------


def runs(*scores: float) -> list[RunResult]:
    return [RunResult(s) for s in sorted(scores, reverse=True)]


def test_which_runs_are_compared() -> None:
    good, bad = runs(1.0, 0.0)
    assert contrast(0, [good, bad], 0.0, 1.0) is not None
    assert contrast(0, [good, bad], 1.0, 1.0) is None  # the best is as bad as most
    assert contrast(0, [good, bad], 0.0, 0.0) is None  # the worst is as good as the best of all
    alike = runs(0.5, 0.5)
    one = contrast(0, alike, 0.1, 0.9)
    assert one is not None
    assert one.better is None
    assert one.worse is alike[-1]
    assert contrast(0, alike, 0.1, 0.4) is None


def test_what_the_advising_model_sees_and_where_its_advice_goes() -> None:
    optimizer = small(max_demos=0, prompt_model="main").begin(problem(10))
    jobs = drive(optimizer, answer)
    call = next(j for j in jobs if isinstance(j, CallJob))
    assert {f.name for f in call.signature.inputs} == set(call.inputs)
    assert call.inputs["predictors"] == "first, second"
    assert "function main" in str(call.inputs["program"])
    assert '"score": 1.0' in str(call.inputs["better_run"])
    assert '"feedback": "hm"' in str(call.inputs["worse_run"])
    told = [str(c.assignment.get("first.instruction")) for c in optimizer.history if c.assignment.values]
    assert "Label it.\n\nIf it rains, then stay in." in told
    assert call.inputs["better_run"] != MISSING


def test_where_no_advice_comes_the_next_rows_take_the_place() -> None:
    failed: list[CallJob] = []

    def given(job: Job) -> Result:
        if isinstance(job, CallJob) and not failed:
            failed.append(job)
            return CallResult(Obj(), "?", "no JSON")
        return answer(job)

    kept, broken = (small(max_demos=0, max_steps=1).begin(problem(10)) for _ in range(2))
    drive(kept, answer)
    drive(broken, given)
    rows = [[c.note for c in o.history if c.note.startswith("step 1")] for o in (kept, broken)]
    assert len(failed) == 1
    assert rows[1][:3] == rows[0][1:]  # the first row's place is taken by the fifth row
    assert len(rows[1]) == len(rows[0]) == 4
    assert rows[1][3] not in rows[0]


# -- what it costs ----------------------------------------------------------------------------------------


def watched(optimizer: Ascent, given: Any) -> tuple[list[Any], list[tuple[int, int]]]:
    made: list[tuple[int, int]] = []
    bounds = []
    while not optimizer.done:
        bounds.append((optimizer.demand(), len(made)))
        jobs = optimizer.ask(4096)
        for job, result in [(j, given(j)) for j in jobs]:
            optimizer.tell(job, result)
            cells = len(job.rows) if isinstance(job, EvaluateJob) else isinstance(job, RunJob)
            made.append((int(cells), isinstance(job, CallJob)))
    return bounds, made


@pytest.mark.parametrize("steps", [0, 1, 4, 9])
@pytest.mark.parametrize("bsize", [2, 6])
def test_without_rules_the_demand_is_exact_at_every_moment(steps: int, bsize: int) -> None:
    optimizer = small(rules=False, max_steps=steps, bsize=bsize).begin(problem(11))
    bounds, made = watched(optimizer, answer)
    for bound, at in bounds:
        assert bound.exact
        assert bound.most == sum(cells for cells, _ in made[at:])
        assert bound.calls == 0
    assert optimizer.demand().most == 0


@pytest.mark.parametrize("broken", [0.0, 0.5, 1.0])
def test_with_rules_it_is_bounded(broken: float) -> None:
    rng = random.Random(1)

    def given(job: Job) -> Result:
        if isinstance(job, CallJob) and rng.random() < broken:
            return CallResult(Obj(), "?", "no JSON")
        return answer(job)

    for options in ({}, {"max_demos": 0}):
        bounds, made = watched(small(**options).begin(problem(11)), given)
        for bound, at in bounds:
            cells, calls = (sum(x) for x in zip(*made[at:], strict=True))
            assert bound.least <= cells <= bound.most
            assert calls <= bound.calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bsize": 11}, "split `train` has 10 rows, which makes no minibatch of 11; give a smaller `bsize`"),
        ({"bsize": 0}, "`bsize` is 0; it has to be more than 0"),
        ({"num_candidates": 0}, "`num_candidates` is 0; it has to be more than 0"),
        ({"temperature_for_sampling": 0.0}, "`temperature_for_sampling` is 0.0; it has to be more than 0"),
        ({"max_demos": -1}, "`max_demos` is -1; it cannot be negative"),
        ({"rules": False, "max_demos": 0}, "without rules and with `max_demos` 0 there is nothing to change"),
        ({"prompt_model": "big"}, "the program defines no model `big` for `prompt_model`"),
        ({"teacher_model": "big"}, "the program defines no model `big` for `teacher_model`"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizeError, match=re.escape(message)):
        small(**options).begin(problem(10))


def test_scores_of_any_size_can_be_drawn_by() -> None:
    def given(job: Job) -> Result:
        found = answer(job)
        if isinstance(found, RunResult):
            return RunResult(found.score * 1e6, found.trace)
        return EvaluateResult(tuple(s * 1e6 for s in found.scores)) if isinstance(found, EvaluateResult) else found

    optimizer = small().begin(problem(10))
    drive(optimizer, given)
    assert optimizer.done
