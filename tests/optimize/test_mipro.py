"""MIPROv2's own rules: several trials at a time, demand, frozen parts, modes, what it refuses. See also
`tests/python/test_mipro_dspy.py`."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import Any

import pytest

from lampc.ir import Assignment, Demo, DemoSet, Obj, digest
from lampc.passes.optimize import (
    CallJob,
    CallResult,
    EvaluateJob,
    EvaluateResult,
    Job,
    MIPROv2,
    OptimizeError,
    Problem,
    Result,
    RunJob,
    RunResult,
)
from lampc.passes.optimize.mipro.strategy import Mipro
from lampc.passes.optimize.proposers import Pool
from tests.optimize.problems import drive, problem, trace_of

POOL = [f"Instruction {i}." for i in range(12)]


def answer(job: Job) -> Result:
    """Runs succeed for two rows of three; candidates score by a hash, more for some rows; writers write by number."""
    match job:
        case RunJob():
            return RunResult(float(job.row % 3 > 0), trace_of(job.row, job.rollout))
        case CallJob():
            return CallResult(Obj({f.name: f"{f.name} {job.number}" for f in job.signature.outputs}))
        case EvaluateJob():
            share = int(digest(job.assignment)[:6], 16) / 16**6
            return EvaluateResult(tuple(share + (row % 7) / 70 for row in job.rows), tokens=(10,) * len(job.rows))
    raise AssertionError(job)


def trials(optimizer: Mipro) -> list[tuple[Any, ...]]:
    return [(dict(c.facts)["trial"], dict(c.facts)["kind"], c.score, c.rows) for c in optimizer.history]


def cells(jobs: list[Job]) -> int:
    return sum(len(j.rows) for j in jobs if isinstance(j, EvaluateJob))


@pytest.mark.parametrize("q", [1, 3, 8])
@pytest.mark.parametrize("auto", ["light", "medium"])
def test_how_jobs_are_handed_out_does_not_matter(q: int, auto: Any) -> None:
    given = problem(12, select=80)
    wide, narrow = (MIPROv2(auto=auto, pool=POOL, q=q).begin(given) for _ in range(2))
    jobs = [drive(wide, answer), drive(narrow, answer, 1)]
    runs, others = ([[j for j in js if isinstance(j, RunJob) == run] for js in jobs] for run in (True, False))
    assert set(runs[0]) == set(runs[1])
    assert others[0] == others[1]
    assert (wide.best, wide.history) == (narrow.best, narrow.history)


@pytest.mark.parametrize("q", [1, 3, 8])
@pytest.mark.parametrize("select", [30, 80])
def test_the_trials_demanded_are_those_made(q: int, select: int) -> None:
    optimizer = MIPROv2(pool=POOL, q=q).begin(problem(12, select=select))
    wanted = optimizer.plan.demand()
    assert wanted.exact
    jobs, left = list[Job](), None
    while not optimizer.done:
        before, batch = optimizer.demand(), optimizer.ask(4)
        for job in batch:
            optimizer.tell(job, answer(job))
        jobs += batch
        if all(isinstance(j, EvaluateJob) for j in batch):
            assert before.exact
            assert left is None or before.most == left
            left = before.most - cells(batch)
    assert left == 0
    assert cells(jobs) == wanted.most == select * (1 if select == 30 else 5) + 20 * (select if select == 30 else 35)
    assert optimizer.demand().most == 0


def rounds(optimizer: Mipro) -> list[int]:
    """How many trials are scored together, round after round."""
    sizes = []
    while not optimizer.done:
        batch = optimizer.ask(4096)
        if all(isinstance(j, EvaluateJob) for j in batch):
            assert optimizer.ask(4096) == []
            sizes.append(len(batch))
        for job in batch:
            optimizer.tell(job, answer(job))
    return sizes


def test_several_trials_are_sampled_before_any_is_told() -> None:
    optimizer = MIPROv2(pool=POOL, q=4).begin(problem(12, select=80))
    # the start and eight that are drawn at random; then full evaluations run beside the trials after them
    assert rounds(optimizer) == [9, 2, 1, 5, 1, 5, 1, 1]
    kinds = [kind for _, kind, _, _ in trials(optimizer)]
    assert (kinds.count("minibatch"), kinds.count("full"), kinds.count("start")) == (20, 4, 1)
    assert [n for n, *_ in trials(optimizer)] == list(range(1, 26))


def test_trials_that_hang_on_no_score_are_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem(12, select=80)
    optimizer = MIPROv2(pool=POOL).begin(given)
    assert rounds(optimizer) == [9] + [1] * 16
    assert rounds(MIPROv2(pool=POOL).begin(problem(12, select=30))) == [10] + [1] * 11
    for known in (0, 5, 99):  # foreseeing less, or what does not come true, changes nothing but what is run when
        monkeypatch.setattr("lampc.passes.optimize.mipro.search.STARTUP", known)
        other = MIPROv2(pool=POOL).begin(given)
        jobs = drive(other, answer)
        assert (other.history, other.best) == (optimizer.history, optimizer.best)
        assert other.demand().most == 0
        assert (cells(jobs) == optimizer.plan.demand().most) == (known < 99)


def test_bootstraps_of_all_sets_are_asked_for_together() -> None:
    optimizer = MIPROv2(pool=POOL).begin(problem(30, select=80))
    jobs = [j for j in optimizer.ask(4096) if isinstance(j, RunJob)]
    assert len({j.row for j in jobs}) > 4  # more than one bootstrap's window
    assert optimizer.ask(4096) == []
    assert optimizer.demand().least == len(jobs) + optimizer.plan.demand().most


def test_labelled_demos_alone_differ_from_set_to_set() -> None:
    """DSPy ends with an error here: it draws how many to bootstrap from 1 to 0."""
    optimizer = MIPROv2(max_bootstrapped_demos=0, max_labeled_demos=3, pool=POOL).begin(problem(12, select=20))
    assert all(isinstance(j, EvaluateJob) for j in drive(optimizer, answer))
    shown = {c.assignment.get("second.demos") for c in optimizer.history[1:]}
    assert {len(demos.items) for demos in shown} == {0, 3}
    assert len(shown) > 3


def test_the_best_of_those_scored_in_full_is_the_result() -> None:
    optimizer = MIPROv2(auto="medium", pool=POOL).begin(problem(12, select=80))
    drive(optimizer, answer)
    full = [c for c in optimizer.history if c.rows == 80]
    assert len(full) == 1 + 6
    assert optimizer.best == max(full, key=lambda c: c.score or 0.0).assignment
    assert all(c.tokens == 10 for c in optimizer.history)


def test_frozen_parts_are_no_choice() -> None:
    own = DemoSet((Demo(Obj({"text": "mine", "label": "own"})),))
    start = Assignment().updated(**{"first.demos": own})
    for frozen, names in (
        ('["demos"]', {"0_predictor_instruction", "1_predictor_instruction", "1_predictor_demos"}),
        ('["instruction"]', {"0_predictor_demos", "1_predictor_instruction", "1_predictor_demos"}),
        ('["instruction", "demos"]', {"1_predictor_instruction", "1_predictor_demos"}),
    ):
        optimizer = MIPROv2(pool=POOL).begin(problem(12, 20, frozen, start))
        drive(optimizer, answer)
        params = dict(dict(optimizer.history[-1].facts)["params"])
        assert params.keys() == names
        assert len(optimizer.history) == 1 + int(max(2 * len(names) * 2.584962500721156, 9))
        for candidate in optimizer.history:
            assert "demos" not in frozen or candidate.assignment.get("first.demos") == own
            assert "instruction" not in frozen or candidate.assignment.get("first.instruction") is None


def test_zero_shot_leaves_demos_but_shows_bootstrapped_ones_to_the_writer() -> None:
    start = Assignment().updated(**{"second.demos": DemoSet((Demo(Obj({"text": "mine", "why": "own"})),))})
    given = replace(problem(12, 20, start=start))
    optimizer = MIPROv2(max_bootstrapped_demos=0, max_labeled_demos=0).begin(given)
    jobs = drive(optimizer, answer)
    assert all(c.assignment.get("second.demos") == start.get("second.demos") for c in optimizer.history)
    assert all(c.assignment.get("first.demos") is None for c in optimizer.history)
    shown = [str(j.inputs["task_demos"]) for j in jobs if isinstance(j, CallJob) and "task_demos" in j.inputs]
    assert len(shown) == 5 * 2
    assert all(text.count("text: ") == 3 for text in shown)
    assert {dict(c.facts)["kind"] for c in optimizer.history} == {"start", "full"}


def test_the_first_instruction_is_what_there_is_and_nobody_is_asked_for_it() -> None:
    optimizer = MIPROv2(tip_aware_proposer=False, data_aware_proposer=False).begin(problem(12, select=20))
    jobs = drive(optimizer, answer)
    written = [j for j in jobs if isinstance(j, CallJob) and j.signature.name == "write_instruction"]
    assert len(written) == 2 * 2  # of two predictors two each, besides the ones that they have
    names = [j.signature.name for j in jobs if isinstance(j, CallJob)]
    assert len(names) < 3 * 3 * 2  # calls that DSPy makes
    texts = {c.assignment.get("first.instruction") for c in optimizer.history[1:]}
    assert texts == {"Label it.", *(f"proposed_instruction {j.number}" for j in written[:2])}
    assert not any("tip" in j.inputs for j in written)


def test_draws_do_not_depend_on_who_proposes() -> None:
    given = problem(12, select=80)
    one, other = MIPROv2(pool=POOL).begin(given), MIPROv2(proposer=Pool([f"Other {i}." for i in range(9)])).begin(given)
    rows = [[j.rows for j in drive(o, answer) if isinstance(j, EvaluateJob)] for o in (one, other)]
    assert [len(r) for r in rows[0]] == [len(r) for r in rows[1]]
    assert [r for r in rows[0] if len(r) == 35] == [r for r in rows[1] if len(r) == 35]


def test_rows_are_drawn_from_the_split_or_are_the_draw() -> None:
    whole = MIPROv2(pool=POOL).begin(problem(5, select=300))
    rows = random.Random(9).sample(range(300), 100)
    assert whole.plan.rows == tuple(rows)
    drawn = MIPROv2(pool=POOL, drawn_from=300).begin(problem(5, select=100))
    assert drawn.plan.rows == tuple(range(100))
    batches = [[j.rows for j in drive(o, answer) if isinstance(j, EvaluateJob)][1] for o in (whole, drawn)]
    assert batches[0] == tuple(rows[i] for i in batches[1])


def test_where_every_combination_was_scored_in_full_the_best_is_scored_again() -> None:
    options = MIPROv2(auto=None, num_candidates=2, num_trials=12, minibatch_size=3, minibatch_full_eval_steps=2,
                      max_bootstrapped_demos=0, max_labeled_demos=0, pool=["Other."])  # fmt: skip
    optimizer = options.begin(problem(6, 9, frozen='["instruction"]'))
    drive(optimizer, answer)
    full = [c.assignment for c in optimizer.history if dict(c.facts)["kind"] == "full"]
    assert len(full) == 6
    assert len(set(full)) == 2


def test_proposals_that_are_missing_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def failing(job: Job) -> Result:
        return CallResult(Obj(), "", "unreadable") if isinstance(job, CallJob) and job.number % 2 else answer(job)

    optimizer = MIPROv2(auto="medium").begin(problem(12, select=20))
    drive(optimizer, failing)
    assert "proposals are missing: unreadable" in caplog.text
    few = MIPROv2(pool=["One."]).begin(problem(12, select=20))
    drive(few, answer)
    assert "2 of 4 proposals are missing: the proposer has no more" in caplog.text
    assert {c.assignment.get("first.instruction") for c in few.history[1:]} == {"Label it.", "One."}
    none = MIPROv2(max_bootstrapped_demos=0, max_labeled_demos=0, pool={"first": []}).begin(problem(12, select=20))
    with pytest.raises(OptimizeError, match="mipro: there is one choice of everything; no proposal could be had"):
        drive(none, answer)


def test_a_replay_of_the_results_ends_in_the_same_place() -> None:
    given, told = problem(12, select=80), list[tuple[Job, Result]]()

    def kept(job: Job) -> Result:
        told.append((job, answer(job)))
        return told[-1][1]

    first, again = MIPROv2(q=2).begin(given), MIPROv2(q=2).begin(given)
    drive(first, kept)
    results = iter(told)
    while not again.done:
        for job in again.ask(4096):
            known, result = next(results)
            assert job == known
            again.tell(job, result)
    assert (again.best, again.history) == (first.best, first.history)


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"num_trials": 5}, {}, "`auto` says how many candidates and trials there are"),
        ({"auto": None}, {}, "without `auto`, `num_candidates` and `num_trials` are needed"),
        ({"auto": None, "num_candidates": 8}, {}, "`num_trials` is needed; about 24 suit 8 candidates"),
        ({"auto": "big"}, {}, "`auto` is one of light, medium, heavy, or null, not 'big'"),
        ({"auto": None, "num_candidates": 3, "num_trials": 4}, {}, "`minibatch_size` is 35; there are 20 rows"),
        ({"minibatch_full_eval_steps": 0}, {}, "`minibatch_full_eval_steps` is 0"),
        ({"max_labeled_demos": -1}, {}, "`max_labeled_demos` is -1"),
        ({"q": 0}, {}, "`q` is 0"),
        ({"proposer": "gpt"}, {}, "there is no proposer `gpt`"),
        ({}, {"select": 0}, "there are no rows to score on"),
        ({}, {"n": 0}, "split `train` has no rows"),
    ],
)
def test_what_does_not_go_is_said(options: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizeError, match=message):
        MIPROv2(**options).begin(problem(**{"n": 12, "select": 20, **given}))


def test_a_program_of_which_nothing_may_change_is_refused() -> None:
    given: Problem = problem(12, 20, '["instruction", "demos"]')
    for op in given.predictors():
        op.frozen = ("instruction", "demos")
    with pytest.raises(OptimizeError, match="nothing of the program may be changed"):
        MIPROv2().begin(given)


def test_without_optuna_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(OptimizeError, match=r"mipro samples with optuna, which is not installed: pip install 'lampc\["):
        MIPROv2(pool=POOL).begin(problem(12, select=20))
