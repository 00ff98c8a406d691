"""Random search: against the sequential algorithm, one candidate after another, written down plainly."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.ir import Assignment, digest
from lampc.passes.optimize import (
    BootstrapFewShot,
    EvaluateJob,
    EvaluateResult,
    Job,
    LabeledFewShot,
    OptimizeError,
    Problem,
    RandomSearch,
    Result,
    RunJob,
    optimizer,
)
from tests.optimize.problems import Answer, drive, problem, runs


def score_of(assignment: Assignment, row: int, levels: int) -> float:
    """A score that depends on the candidate and the row alone."""
    return random.Random(digest((assignment, row))).randrange(levels) / (levels - 1)


def answers(succeed: Any, levels: int = 5) -> Answer:
    made = runs(succeed)

    def answer(job: Job) -> Result:
        if isinstance(job, EvaluateJob):
            return EvaluateResult(tuple(score_of(job.assignment, r, levels) for r in job.rows))
        return made(job)

    return answer


def sequential(options: RandomSearch, p: Problem, succeed: Any, levels: int) -> list[tuple[int, Assignment, float]]:
    """(number, candidate, score) of all that are scored, in order."""
    found: list[tuple[int, Assignment, float]] = []
    for number in range(-3, options.num_candidate_programs):
        if options.restrict is not None and number not in options.restrict:
            continue
        order = list(range(len(p.train)))
        size = options.max_bootstrapped_demos
        if number >= 0:
            random.Random(number).shuffle(order)
            size = random.Random(number).randint(1, size)
        own = replace(p, train=tuple(p.train[i] for i in order))
        if number == -3:
            made = p.with_demos(p.start, {"first": (), "second": ()})
        elif number == -2:
            made = LabeledFewShot(options.max_labeled_demos, options.labeled_sample).begin(p).best
        else:
            bootstrap = BootstrapFewShot(size, options.max_labeled_demos, options.max_rounds, speculate=1.0).begin(own)
            # the run of a row is the same whatever place it has, so that is what is looked up and traced
            drive(bootstrap, lambda job, order=order: runs(succeed)(replace(job, row=order[job.row])))  # type: ignore[misc]
            made = bootstrap.best
        rows = [score_of(made, r, levels) for r in range(p.select_size)]
        found.append((number, made, round(100 * sum(rows) / len(rows), 2)))
        if options.stop_at_score is not None and found[-1][2] >= options.stop_at_score:
            break
    return found


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    outcomes=st.lists(st.sampled_from([0.0, 1.0, 1.0, None]), min_size=18, max_size=18),
    bootstrapped=st.integers(1, 4),
    labelled=st.integers(0, 6),
    rounds=st.integers(1, 2),
    levels=st.sampled_from([2, 9]),
    stop=st.sampled_from([None, None, 50.0, 75.0]),
    restrict=st.sampled_from([None, None, (-3, 0, 2), (3, -1)]),
    sample=st.booleans(),
    batch=st.sampled_from([1, 3, 4096]),
)
def test_candidates_scores_and_winner_are_those_of_one_after_another(
    rows: int,
    outcomes: list[float | None],
    bootstrapped: int,
    labelled: int,
    rounds: int,
    levels: int,
    stop: float | None,
    restrict: tuple[int, ...] | None,
    sample: bool,
    batch: int,
) -> None:
    options = RandomSearch(
        bootstrapped, labelled, rounds, num_candidate_programs=5, stop_at_score=stop, restrict=restrict,
        labeled_sample=sample,
    )  # fmt: skip

    def succeed(row: int, attempt: int) -> float | None:
        return outcomes[row * 2 + attempt]

    p = problem(rows, 4)
    wanted = sequential(options, p, succeed, levels)
    search = options.begin(p)
    drive(search, answers(succeed, levels), batch)
    assert [(m.number, m.assignment, m.score) for m in search.scored] == wanted
    best = max(wanted, key=lambda found: found[2])
    assert search.best == best[1]
    assert [(c.assignment, c.score, c.rows) for c in search.history] == [(a, s, 4) for _, a, s in wanted]


def test_everything_is_one_table() -> None:
    """Bootstraps of all candidates and the scores of those without come first, the scores of the others next."""
    search = RandomSearch(num_candidate_programs=16).begin(problem(40, 7))
    answer = answers(lambda row, _: 1.0)
    rounds = []
    while not search.done:
        jobs = search.ask(4096)
        results = [answer(j) for j in jobs]
        for job, result in zip(jobs, results, strict=True):
            search.tell(job, result)
        rounds.append([type(j) for j in jobs])
    assert len(rounds) == 2
    assert rounds[0].count(EvaluateJob) == 2
    assert rounds[1] == [EvaluateJob] * 17


def test_rows_are_those_of_the_split_whatever_the_order() -> None:
    p = problem(6, 2)
    search = RandomSearch(num_candidate_programs=1, restrict=(0,), speculate=9).begin(p)
    order = list(range(6))
    random.Random(0).shuffle(order)
    jobs = [j for j in search.ask(99) if isinstance(j, RunJob)]
    assert [j.row for j in jobs] == order
    for job in jobs:
        shown = [d.values["text"] for d in job.assignment.get("first.demos").items]
        assert p.train[job.row].inputs["text"] not in shown
        assert len(shown) == 5


def test_without_select_rows_the_training_rows_are_scored_on() -> None:
    search = RandomSearch(num_candidate_programs=0, restrict=(-3,)).begin(problem(3, 0))
    (job,) = drive(search, answers(lambda row, _: 1.0))
    assert isinstance(job, EvaluateJob)
    assert (job.split, job.rows) == ("train", (0, 1, 2))


def test_frozen_demos_stay() -> None:
    search = RandomSearch(num_candidate_programs=2).begin(problem(4, frozen='["demos"]'))
    drive(search, answers(lambda row, _: 1.0))
    assert all(m.assignment.get("first.demos") is None for m in search.members)


def test_the_demand_bounds_what_is_asked_for() -> None:
    def asked(options: RandomSearch, succeed: Any) -> int:
        jobs = drive(options.begin(problem(12, 5)), answers(succeed))
        return sum(len(j.rows) if isinstance(j, EvaluateJob) else 1 for j in jobs)

    options = RandomSearch(num_candidate_programs=6, speculate=1.0)
    demand = options.begin(problem(12, 5)).demand()
    assert demand.least == asked(options, lambda row, _: 1.0)
    assert demand.most == asked(options, lambda row, _: 0.0)
    assert demand.least <= asked(options, lambda row, _: float(row % 3 == 0)) <= demand.most
    labelled = RandomSearch(restrict=(-3, -2))
    assert labelled.begin(problem(12, 5)).demand().exact
    assert labelled.begin(problem(12, 5)).demand().most == asked(labelled, lambda row, _: 1.0)
    stopping = RandomSearch(num_candidate_programs=6, stop_at_score=0.0, speculate=1.0)
    assert stopping.begin(problem(12, 5)).demand().least == asked(stopping, lambda row, _: 1.0) == 5


def test_what_cannot_be_searched_is_named() -> None:
    with pytest.raises(OptimizeError, match=r"`restrict` is \[7, 9\], and candidates are numbered from -3 to 3"):
        RandomSearch(num_candidate_programs=4, restrict=(7, 9)).begin(problem())
    with pytest.raises(OptimizeError, match="`num_candidate_programs` is -1"):
        RandomSearch(num_candidate_programs=-1).begin(problem())
    with pytest.raises(OptimizeError, match="split `train` has no rows"):
        RandomSearch().begin(problem(0))
    assert optimizer("random_search", {"num_candidate_programs": 3}) == RandomSearch(num_candidate_programs=3)
