"""GEPA by itself: what proposers are shown, what a budget bounds, what is left alone. Its search is held against the
package in `test_gepa_trajectory.py`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from lampc.ir import Assignment, Obj
from lampc.passes.optimize import (
    CallJob,
    CallResult,
    EvaluateJob,
    EvaluateResult,
    FeedbackJob,
    FeedbackResult,
    Job,
    OptimizeError,
    Problem,
    Result,
    RunJob,
    RunResult,
    TracedCall,
)
from lampc.passes.optimize.gepa import GEPA, auto_budget
from lampc.passes.optimize.gepa_run import Evolution
from lampc.passes.optimize.proposers.reflect import Reflect
from tests.optimize.problems import drive, examples, problem, trace_of

GOOD = "Say which of the labels fits. Use capitals. Think twice."


def words(assignment: Assignment) -> float:
    """Better the more words of `GOOD` are among the instructions."""
    said = " ".join(str(assignment.get(f"{n}.instruction") or "") for n in ("first", "second"))
    wanted = GOOD.split()
    return sum(w in said.split() for w in wanted) / len(wanted)


def answer(job: Job) -> Result:
    match job:
        case EvaluateJob():
            return EvaluateResult((words(job.assignment),) * len(job.rows))
        case RunJob():
            return RunResult(words(job.assignment), trace_of(job.row))
        case FeedbackJob():
            return FeedbackResult(0.5, f"row {job.run.row}, call {job.call}: say which")
        case CallJob():
            said = str(job.inputs["current_instruction"])
            missing = next((w for w in GOOD.split() if w not in said.split()), "")
            return CallResult(Obj({"new_instruction": f"{said} {missing}"}))
    raise AssertionError(job)


def test_a_model_that_reads_remarks_climbs_to_the_best_instruction() -> None:
    optimizer = GEPA(max_metric_calls=400).begin(problem(12, 6))
    jobs = drive(optimizer, answer)
    assert words(optimizer.best) == 1.0
    asked = [j for j in jobs if isinstance(j, CallJob)]
    assert "row " in str(asked[0].inputs["calls"])
    assert "remark:\nrow" in str(asked[0].inputs["calls"])
    means = [c.score for c in optimizer.history if c.rows == 6]
    assert means == sorted(means)
    assert all(optimizer.history[p].rows == 6 for c in optimizer.history for p in c.parents)


@pytest.mark.parametrize("options", [{}, {"parents": 3, "mutations": 2}, {"component_selector": "all"}])
def test_how_many_jobs_are_taken_at_a_time_makes_no_difference(options: dict[str, Any]) -> None:
    made = [GEPA(max_metric_calls=200, **options).begin(problem(9, 5)) for _ in range(2)]
    drive(made[0], answer)
    drive(made[1], answer, n=1)
    assert made[0].history == made[1].history
    assert made[0].log == made[1].log


@pytest.mark.parametrize("proposer", ["edits", "templates", "pool"])
def test_no_model_has_to_write(proposer: str) -> None:
    start = Assignment(Obj({"first.instruction": "Be quick. Say which of the labels fits. Never mind."}))
    strategy = GEPA(max_metric_calls=120, proposer=proposer, pool=(GOOD, "Say which."), seed=1)
    optimizer = strategy.begin(problem(8, 4, start=start))
    jobs = drive(optimizer, answer)
    assert not [j for j in jobs if isinstance(j, CallJob)]
    assert len(optimizer.history) > 1
    if proposer == "pool":
        assert words(optimizer.best) == 1.0


def test_texts_of_a_pool_are_tried_once_each() -> None:
    optimizer = GEPA(max_metric_calls=200, pool=("One.", "Two.", "Three."), use_merge=False).begin(problem(8, 4))
    drive(optimizer, lambda job: RunResult(0.5, trace_of(job.row)) if isinstance(job, RunJob) else answer(job))
    assert optimizer.calls < 200  # nothing is left to try
    tried = [c.assignment for c in optimizer.history[1:]]
    assert len(tried) == len(set(tried)) == 6  # three for each of two predictors


def test_equal_wishes_of_one_iteration_get_different_texts() -> None:
    strategy = GEPA(max_metric_calls=40, pool=("One.", "Two.", "Three."), parents=3)
    optimizer = strategy.begin(problem(9, 4))
    drive(optimizer, lambda job: RunResult(0.5, trace_of(job.row)) if isinstance(job, RunJob) else answer(job))
    assert [c.assignment.get("first.instruction") for c in optimizer.history[1:4]] == ["One.", None, "Two."]


def test_frozen_instructions_are_left_alone() -> None:
    optimizer = GEPA(max_metric_calls=150).begin(problem(9, 5, frozen='["instruction"]'))
    jobs = drive(optimizer, answer)
    assert all("first.instruction" not in c.assignment.values for c in optimizer.history)
    assert {j.predictor for j in jobs if isinstance(j, FeedbackJob)} == {"second"}
    with pytest.raises(OptimizeError, match="no predictor has an instruction that may be changed"):
        GEPA().begin(replace(problem(), module=_all_frozen()))


def _all_frozen() -> Any:
    from lampc.ir.prog import DefPredictor

    made = problem().module.clone()
    for op in made.body.ops:
        if isinstance(op, DefPredictor):
            op.frozen = ("instruction",)
    return made


# -- records ----------------------------------------------------------------------------------------------


def failing(unread_row: int, broken_row: int) -> Any:
    """Answers in which one row ends with an answer that cannot be read, and one in an error."""

    def given(job: Job) -> Result:
        if isinstance(job, RunJob) and job.row == unread_row:
            first = trace_of(job.row)[0]
            lost = TracedCall("second", Obj({"text": "t", "label": "l"}), Obj(), "Well ...", "no field `why`")
            return RunResult(0.0, (first, lost), "the answer of `second` could not be read")
        if isinstance(job, RunJob) and job.row == broken_row:
            return RunResult(0.0, trace_of(job.row)[:1], "it broke")
        return answer(job)

    return given


@pytest.mark.parametrize("counted", [False, True])
def test_answers_that_cannot_be_read_are_remarked_on_only_if_asked_for(counted: bool) -> None:
    shown: list[Any] = []

    def propose(candidate: Any, reflective_dataset: Any, components_to_update: Any) -> dict[str, str]:
        shown.append(reflective_dataset)
        return {}

    strategy = GEPA(
        max_metric_calls=16, component_selector="all", proposer=propose, reflection_minibatch_size=3,
        add_format_failure_as_feedback=counted,
    )  # fmt: skip
    drive(strategy.begin(problem(3, 4)), failing(0, 1))
    second = shown[0]["second"]
    assert len(shown[0]["first"]) == 1  # row 2: row 0 has no more to say of it, row 1 taught nothing
    if not counted:
        assert [r["Inputs"] for r in second] == [{"text": "t2", "label": "b2.0"}]
        return
    (lost,) = [r for r in second if r["Inputs"] == {"text": "t", "label": "l"}]
    assert lost["Generated Outputs"] == "Well ..."
    assert "could not be read: no field `why`" in lost["Feedback"]
    assert "why (str)" in lost["Feedback"]


def test_without_feedback_the_score_is_the_remark_and_so_it_is_where_the_metric_fails() -> None:
    shown: list[Any] = []
    told = iter([FeedbackResult(0.25), FeedbackResult(0.0, error="metric broke"), FeedbackResult(0.5, "Good.")])

    def propose(candidate: Any, reflective_dataset: Any, components_to_update: Any) -> dict[str, str]:
        shown.extend(reflective_dataset["first"])
        return {}

    strategy = GEPA(max_metric_calls=6, proposer=propose)
    drive(strategy.begin(problem(3, 4)), lambda j: next(told) if isinstance(j, FeedbackJob) else answer(j))
    assert [r["Feedback"] for r in shown] == [
        "The score of this run was 0.25.", f"The score of this run was {words(Assignment())}.", "Good.",
    ]  # fmt: skip


def test_a_proposer_that_fails_ends_nothing_and_one_that_names_another_predictor_does() -> None:
    calls: list[int] = []

    def broken(**given: Any) -> dict[str, str]:
        calls.append(1)
        raise ValueError("no idea")

    optimizer = GEPA(max_metric_calls=16, proposer=broken).begin(problem(6, 4))
    drive(optimizer, answer)
    assert (len(calls), len(optimizer.history)) == (8, 1)  # four iterations, each asked twice
    with pytest.raises(OptimizeError, match="gave a text for `third`; there are first, second"):
        drive(GEPA(max_metric_calls=16, proposer=lambda **_: {"third": "x"}).begin(problem(6, 4)), answer)


def test_a_selector_of_ones_own() -> None:
    seen: list[Any] = []

    def select(state: Evolution, trajectories: Any, scores: Any, place: int, candidate: dict[str, str]) -> list[str]:
        seen.append((len(trajectories), len(scores), place, list(candidate)))
        return ["second"]

    optimizer = GEPA(max_metric_calls=60, component_selector=select).begin(problem(6, 4))
    drive(optimizer, answer)
    assert seen[0] == (3, 3, 0, ["first", "second"])
    assert all("first.instruction" not in c.assignment.values for c in optimizer.history)
    with pytest.raises(OptimizeError, match="the component selector gave 'third'"):
        drive(GEPA(max_metric_calls=60, component_selector=lambda *_: ["third"]).begin(problem(6, 4)), answer)


# -- budgets ----------------------------------------------------------------------------------------------


def test_budgets_are_those_of_dspy() -> None:
    import dspy

    def metric(gold: Any, pred: Any, trace: Any, pred_name: Any, pred_trace: Any) -> float:
        return 0.0

    theirs = dspy.GEPA(metric, auto="light", instruction_proposer=lambda **_: {})
    for components in (1, 2, 5):
        for n in (6, 12, 18):
            for rows in (1, 10, 77):
                assert auto_budget(components, n, rows) == theirs.auto_budget(components, n, rows)
    assert GEPA(auto="light").budget(problem(10, 4)) == theirs.auto_budget(2, 6, 4)
    assert GEPA().budget(problem(10, 0)) == theirs.auto_budget(2, 6, 10)
    assert GEPA(max_full_evals=3).budget(problem(10, 4)) == 42


@pytest.mark.parametrize(
    "options",
    [
        {}, {"parents": 3}, {"parents": 2, "mutations": 2, "keep": 1}, {"component_selector": "all"},
        {"skip_perfect_score": False}, {"failure_score": -1.0}, {"max_metric_calls": 3},
        {"proposer": Reflect(max_chars=80)}, {"pool": ("One.", "Two.")}, {"proposer": "edits"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("good", [0.0, 0.5, 1.0])
def test_demand_bounds_what_is_asked_for_at_every_moment(options: dict[str, Any], good: float) -> None:
    def given(job: Job) -> Result:
        found = answer(job)
        if good == 0.5:
            return found
        if isinstance(found, EvaluateResult):
            return EvaluateResult((good,) * len(found.scores))
        return replace(found, score=good) if isinstance(found, RunResult) else found

    optimizer = GEPA(**{"max_metric_calls": 150, **options}).begin(problem(9, 7))
    made: list[tuple[int, int]] = []
    bounds = []
    while not optimizer.done:
        bounds.append((optimizer.demand(), len(made)))
        jobs = optimizer.ask(4096)
        results = [given(j) for j in jobs]
        for job, result in zip(jobs, results, strict=True):
            optimizer.tell(job, result)
            cells = len(job.rows) if isinstance(job, EvaluateJob) else isinstance(job, RunJob)
            made.append((int(cells), isinstance(job, CallJob)))
    for bound, at in bounds:
        cells, calls = (sum(x) for x in zip(*made[at:], strict=True))
        assert bound.least <= cells <= bound.most
        assert calls <= bound.calls
    assert optimizer.demand().most == 0


def test_without_rows_to_select_on_the_training_rows_are_scored() -> None:
    optimizer = GEPA(max_metric_calls=100).begin(problem(6, 0))
    jobs = drive(optimizer, answer)
    assert {j.split for j in jobs if isinstance(j, EvaluateJob | RunJob)} == {"train"}
    assert len(optimizer.pool.fronts) == 6


def test_failures_score_what_is_said_and_outputs_are_kept_if_asked_for() -> None:
    def given(job: Job) -> Result:
        if isinstance(job, RunJob) and job.row == 1:
            return RunResult(0.0, (), "it broke")
        return replace(found, outputs=Obj({"at": job.row})) if isinstance(found := answer(job), RunResult) else found

    strategy = GEPA(max_metric_calls=60, failure_score=-1.0, remember_outputs=True)
    optimizer = strategy.begin(problem(6, 4))
    drive(optimizer, given)
    assert {m.scores[1] for m in optimizer.pool.members} == {-1.0}
    accepted = [c.facts for c in optimizer.history if "place" in c.facts]
    assert [f["place"] for f in accepted] == list(range(len(optimizer.pool.members)))
    assert {f["outputs"] for f in accepted} == {(Obj({"at": 0}), None, Obj({"at": 2}), Obj({"at": 3}))}
    assert [f["scores"] for f in accepted] == [m.scores for m in optimizer.pool.members]
    assert optimizer.history[0].facts["metric_calls"] == optimizer.calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"auto": "light", "max_metric_calls": 5}, "give one of auto, max_full_evals, max_metric_calls"),
        ({"auto": "tiny"}, "`auto` is 'tiny'; known: light, medium, heavy"),
        ({"candidate_selection_strategy": "best"}, "`candidate_selection_strategy` is 'best'; known: pareto"),
        ({"component_selector": "some"}, "`component_selector` is 'some'; known: round_robin, all"),
        ({"reflection_minibatch_size": 0}, "`reflection_minibatch_size` is 0; at least one"),
        ({"parents": 0}, "`parents` is 0; at least one"),
        ({"proposer": "oracle"}, "there is no proposer `oracle`; known: pool, templates, edits, reflect"),
        ({"proposer": 3}, "`proposer` is 3; give the name of one"),
        ({"reflection_model": "big"}, "the program defines no model `big` for `reflection_model`"),
        ({"max_metric_calls": -1}, "`max_metric_calls` is -1; it cannot be negative"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizeError, match=re.escape(message)):
        GEPA(**options).begin(problem())


def test_a_problem_without_training_rows() -> None:
    with pytest.raises(OptimizeError, match="split `train` has no rows to reflect on"):
        GEPA().begin(Problem(problem().module, examples(0), 4))


# -- the proposer that writes -----------------------------------------------------------------------------


def test_texts_that_are_too_long_are_sent_back_once() -> None:
    limits: list[str] = []

    def given(job: Job) -> Result:
        if isinstance(job, CallJob) and job.signature.name == "shorten":
            limits.append(str(job.inputs["limit"]))
            text = str(job.inputs["instruction"])
            return CallResult(Obj({"shorter_instruction": text[:20] if len(limits) % 2 else text}))
        return answer(job)

    optimizer = GEPA(max_metric_calls=60, proposer=Reflect(max_chars=12)).begin(problem(6, 4))
    drive(optimizer, given)
    assert limits[0] == "at most 12 characters"
    assert len(optimizer.history) == 1  # 20 characters are too many, too
    loose = GEPA(max_metric_calls=60, proposer=Reflect(max_chars=20)).begin(problem(6, 4))
    limits.clear()
    drive(loose, given)
    assert {len(c.assignment.get("first.instruction") or "") for c in loose.history} <= set(range(21))
    assert len(loose.history) > 2


def test_what_the_model_is_told_can_be_added_to_and_replaced() -> None:
    seen: list[CallJob] = []

    def given(job: Job) -> Result:
        if isinstance(job, CallJob):
            seen.append(job)
        return answer(job)

    proposer = Reflect(guidance="Write plainly.", reference="All of it.", instead="Do better.", temperature=0.7)
    drive(GEPA(max_metric_calls=20, proposer=proposer).begin(problem(6, 4)), given)
    asked = seen[0]
    assert [f.name for f in asked.signature.inputs] == ["reference", "guidance", "current_instruction", "calls"]
    assert (asked.signature.instruction, asked.sampling.temperature) == ("Do better.", 0.7)
    assert list(asked.inputs) == [f.name for f in asked.signature.inputs]


def test_an_answer_that_cannot_be_read_proposes_nothing() -> None:
    optimizer = GEPA(max_metric_calls=20).begin(problem(6, 4))
    drive(optimizer, lambda j: CallResult(Obj(), "?", "no JSON") if isinstance(j, CallJob) else answer(j))
    assert len(optimizer.history) == 1
