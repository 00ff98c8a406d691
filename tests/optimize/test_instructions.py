"""Instruction search, steps in sequence, and the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lampc.ir import Assignment, DemoSet
from lampc.passes.optimize import (
    BootstrapFewShot,
    Compose,
    EvaluateJob,
    EvaluateResult,
    InstructionSearch,
    Job,
    LabeledFewShot,
    OptimizeError,
    RandomDemos,
    Result,
    RunJob,
    RunResult,
    optimizer,
    optimizers,
)
from tests.optimize.problems import drive, problem, runs, scores, trace_of


def chosen(assignment: Assignment) -> tuple[Any, Any]:
    return assignment.get("first.instruction"), assignment.get("second.instruction")


def by_text(first: dict[str, float], second: dict[str, float]) -> Any:
    """A score that adds what each predictor's instruction is worth."""

    def score(a: Assignment) -> float:
        return first.get(a.get("first.instruction"), 0.1) + second.get(a.get("second.instruction"), 0.1)

    return scores(score)


def test_each_predictor_gets_the_best_text_given_the_others() -> None:
    search = InstructionSearch(pool=["A", "BB", "CCC"]).begin(problem())
    jobs = drive(search, by_text({"BB": 0.5}, {"CCC": 0.4}))
    assert chosen(search.best) == ("BB", "CCC")
    assert len(jobs) == 8
    assert all(isinstance(j, EvaluateJob) and j.rows == (0, 1, 2, 3) and j.split == "dev" for j in jobs)
    assert [c.score for c in search.history] == pytest.approx([20, 20, 60, 20, 60, 60, 60, 90])


def test_the_current_instruction_wins_ties_then_the_shorter_then_the_earlier() -> None:
    search = InstructionSearch(pool=["A", "B"]).begin(problem())
    drive(search, scores(lambda a: 0.5))
    assert search.best == Assignment()
    search = InstructionSearch(pool=["long one", "xx", "yy"], predictors=("second",)).begin(problem())
    drive(search, scores(lambda a: 0.5 if a.get("second.instruction") else 0.1))
    assert chosen(search.best) == (None, "xx")


def test_demos_and_frozen_instructions_stay() -> None:
    start = LabeledFewShot(k=2).begin(problem()).best
    search = InstructionSearch(pool=["A"]).begin(problem(frozen='["instruction"]', start=start))
    drive(search, scores(lambda a: 1.0 if a.get("second.instruction") == "A" else 0.0))
    assert chosen(search.best) == (None, "A")
    assert search.best.get("first.demos") == start.get("first.demos")
    assert isinstance(start.get("first.demos"), DemoSet)


def test_further_rounds_see_what_the_others_chose() -> None:
    def score(a: Assignment) -> float:
        return {(None, "A"): 0.5, ("B", "A"): 0.9}.get(chosen(a), 0.1)

    one = InstructionSearch(pool=["A", "B"]).begin(problem())
    drive(one, scores(score))
    assert chosen(one.best) == (None, "A")
    more = InstructionSearch(pool=["A", "B"], rounds=5).begin(problem())
    drive(more, scores(score))
    assert chosen(more.best) == ("B", "A")
    assert len(more.history) == 3 * 2 * 3  # the third round changes nothing and is the last


def test_pools_come_from_lists_files_and_by_predictor(tmp_path: Path) -> None:
    (tmp_path / "pool.txt").write_text("One.\n\n  Two. \nOne.\n")
    search = InstructionSearch(pool="pool.txt", base=tmp_path).begin(problem())
    assert list(search.choices) == ["first.instruction", "second.instruction"]
    assert list(search.choices.values()) == [["Label it.", "One.", "Two."], ["Say why.", "One.", "Two."]]
    search = InstructionSearch(pool={"first": "pool.txt"}, base=tmp_path).begin(problem())
    assert list(search.choices.values()) == [["Label it.", "One.", "Two."], ["Say why."]]
    drive(search, scores(lambda a: 1.0))
    assert {c.note.split(":")[0] for c in search.history} == {"first"}


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ([], "the pool is empty"),
        ("nowhere.txt", "cannot be read: No such file"),
        ({"firts": ["x"]}, "the pool is for `firts`; there are first, second"),
    ],
)
def test_a_pool_that_cannot_be_used_is_named(pool: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptimizeError, match=message):
        InstructionSearch(pool=pool, base=tmp_path).begin(problem())


def test_wrong_predictors_and_missing_rows_are_named() -> None:
    with pytest.raises(OptimizeError, match="there is no predictor `third`; there are first, second"):
        InstructionSearch(pool=["x"], predictors=("third",)).begin(problem())
    with pytest.raises(OptimizeError, match="split `dev` has no rows"):
        InstructionSearch(pool=["x"]).begin(problem(select=0))


def test_the_demand_is_exact_for_one_round() -> None:
    search = InstructionSearch(pool=["A", "B"]).begin(problem(select=7))
    demand = search.demand()
    assert demand.exact
    seen: set[Any] = set()
    for job in drive(search, scores(lambda a: 0.3 if a.get("first.instruction") == "A" else 0.0)):
        assert isinstance(job, EvaluateJob)
        seen |= {(job.assignment, r) for r in job.rows}
    assert len(seen) == demand.most == 5 * 7


def test_small_asks_give_the_same() -> None:
    answer = by_text({"BB": 0.5}, {"CCC": 0.4})
    wide, narrow = (InstructionSearch(pool=["A", "BB", "CCC"]).begin(problem()) for _ in range(2))
    assert drive(wide, answer) == drive(narrow, answer, 1)
    assert wide.best == narrow.best


# -- steps one after another ---------------------------------------------------------------------------


def both(job: Job) -> Result:
    if isinstance(job, RunJob):
        return RunResult(1.0, trace_of(job.row, job.rollout))
    assert isinstance(job, EvaluateJob)
    return EvaluateResult((float(job.assignment.get("first.instruction") == "A"),) * len(job.rows))


def test_steps_start_from_what_the_one_before_found() -> None:
    steps = (BootstrapFewShot(max_bootstrapped_demos=2), InstructionSearch(pool=["A"]))
    composed = Compose(steps).begin(problem())
    assert composed.demand().least > 0
    jobs = drive(composed, both)
    alone = steps[0].begin(problem())
    drive(alone, runs(lambda row, _: 1.0))
    assert composed.best.get("first.demos") == alone.best.get("first.demos")
    assert chosen(composed.best) == ("A", None)
    assert [name for name, _ in composed.ends] == ["bootstrap", "instructions"]
    assert {c.step for c in composed.history} == {"bootstrap", "instructions"}
    kinds = [type(j) for j in jobs]
    assert kinds == sorted(kinds, key=lambda k: k is EvaluateJob)  # runs first, then scores


def test_steps_that_need_no_job_are_done_at_once() -> None:
    composed = Compose((LabeledFewShot(k=2), RandomDemos(k=3)), gated=False).begin(problem())
    assert composed.done
    assert Compose((LabeledFewShot(k=2), RandomDemos(k=3))).begin(problem(select=0)).done
    assert len(composed.best.get("first.demos").items) == 3
    assert Compose(()).begin(problem()).best == Assignment()


@pytest.mark.parametrize(("with_demos", "kept"), [(0.2, False), (0.5, True), (0.9, True)])
def test_a_step_that_loses_is_not_passed_on(with_demos: float, kept: bool) -> None:
    def score(a: Assignment) -> float:
        better = 0.05 if a.get("first.instruction") == "A" else 0.0
        return better + (with_demos if a.get("first.demos") else 0.5)

    composed = Compose((LabeledFewShot(k=2), InstructionSearch(pool=["A"]))).begin(problem())
    drive(composed, scores(score), 1)
    assert chosen(composed.best) == ("A", None)
    assert (composed.best.get("first.demos") is not None) == kept
    loose = Compose((LabeledFewShot(k=2), InstructionSearch(pool=["A"])), gated=False).begin(problem())
    drive(loose, scores(score))
    assert loose.best.get("first.demos") is not None


def test_a_replay_of_the_results_ends_in_the_same_place() -> None:
    steps = (BootstrapFewShot(max_bootstrapped_demos=3, max_rounds=2), InstructionSearch(pool=["A", "B"]))
    told: list[tuple[Job, Result]] = []

    def answer(job: Job) -> Result:
        if isinstance(job, RunJob):
            result: Result = RunResult(float((job.row + job.rollout) % 3 == 1), trace_of(job.row, job.rollout))
        else:
            result = both(job)
        told.append((job, result))
        return result

    first = Compose(steps).begin(problem())
    drive(first, answer)
    again = Compose(steps).begin(problem())
    position = 0
    while not again.done:
        for job in again.ask(4096):
            assert job == told[position][0]
            again.tell(job, told[position][1])
            position += 1
    assert (again.best, again.history) == (first.best, first.history)


# -- the registry --------------------------------------------------------------------------------------


def test_names_of_source_files() -> None:
    made = optimizers([("bootstrap", (("max_rounds", 2),)), ("instructions", {"pool": ["x"]})], Path("here"))
    assert made == (BootstrapFewShot(max_rounds=2), InstructionSearch(pool=["x"], base=Path("here")))
    assert optimizer("labeled", {"k": 4.0}) == LabeledFewShot(k=4)
    assert optimizer("random", {}) == RandomDemos()


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("bootsrap", {}, r"there is no optimizer `bootsrap`; did you mean `bootstrap`\?"),
        ("labeled", {"kk": 1}, r"labeled has no option `kk`; did you mean `k`"),
        ("instructions", {"base": "x"}, "instructions has no option `base`"),
        ("labeled", {"k": "four"}, "labeled: `k` is a whole number, got 'four'"),
        ("labeled", {"sample": 1}, "labeled: `sample` is true or false, got 1"),
    ],
)
def test_what_is_unknown_is_named_with_what_is_known(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizeError, match=message):
        optimizer(name, args)
