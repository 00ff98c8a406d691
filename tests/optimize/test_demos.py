"""Demos: labelled, random, bootstrapped; the last against the sequential algorithm written down plainly."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, Demo, DemoSet, Obj, digest
from lampc.ir.prog import DefModel
from lampc.passes.optimize import (
    BootstrapFewShot,
    Example,
    LabeledFewShot,
    OptimizeError,
    Problem,
    RandomDemos,
    RunJob,
    RunResult,
)
from tests.optimize.problems import drive, examples, problem, runs, trace_of


def demos(assignment: Assignment, predictor: str) -> list[dict[str, Any]]:
    return [dict(d.values) for d in assignment.get(f"{predictor}.demos").items]


def texts(assignment: Assignment, predictor: str) -> list[str]:
    return [d["text"] for d in demos(assignment, predictor)]


# -- labelled and random -------------------------------------------------------------------------------


def test_labelled_demos_are_drawn_for_each_predictor_in_turn() -> None:
    got = LabeledFewShot(k=3, seed=5).begin(problem(8))
    rng = random.Random(5)
    assert texts(got.best, "first") == [f"t{i}" for i in rng.sample(range(8), 3)]
    assert texts(got.best, "second") == [f"t{i}" for i in rng.sample(range(8), 3)]
    assert got.done
    assert got.ask(5) == []


def test_labelled_demos_without_sampling_are_the_first_rows() -> None:
    got = LabeledFewShot(k=2, sample=False).begin(problem(8)).best
    assert demos(got, "first") == [{"text": "t0", "label": "l0"}, {"text": "t1", "label": "l1"}]
    assert demos(got, "second")[0] == {"text": "t0", "label": "l0", "why": "w0"}


def test_there_are_never_more_demos_than_rows() -> None:
    assert len(demos(LabeledFewShot(k=16).begin(problem(3)).best, "first")) == 3


def test_predictors_that_the_program_does_not_reach_are_left_alone() -> None:
    assert LabeledFewShot().begin(problem(3)).best.get("other.demos") is None


def test_where_all_is_frozen_nothing_is_said_to_be_tried() -> None:
    unit = compile_lmp(
        'signature S(text: str) -> (label: str) { "Do it." }\n'
        "module Main(text: str) -> (label: str) {\n"
        "  use p = Predict(S) @frozen;\n  let f = p(text: text);\n  return (label: f.label);\n}\n",
        "frozen.lmp",
    )
    frozen = Problem(unit.module, problem(3).train, 3, entry=unit.entry)
    made = LabeledFewShot().begin(frozen)
    assert (made.best, made.history) == (frozen.start, [])


def test_a_row_without_any_output_of_a_predictor_is_no_demo_for_it() -> None:
    base = problem(0)
    rows = (Example({"text": "t"}, {"label": "l"}), Example({"text": "u"}, {"mood": "m"}))
    got = LabeledFewShot(sample=False).begin(Problem(base.module, rows, 1)).best
    assert demos(got, "first") == [{"text": "t", "label": "l"}]
    assert demos(got, "second") == []  # `label` is an input of it: a demo needs an output too


def test_random_demos_are_the_same_rows_for_every_predictor() -> None:
    got = RandomDemos(k=4, seed=2).begin(problem(9)).best
    assert texts(got, "first") == texts(got, "second") == [f"t{i}" for i in random.Random(2).sample(range(9), 4)]


@pytest.mark.parametrize("strategy", [LabeledFewShot(k=2), RandomDemos(k=2), BootstrapFewShot()])
def test_frozen_demos_stay(strategy: Any) -> None:
    kept = DemoSet((Demo(Obj({"text": "mine", "label": "own"})),))
    start = Assignment().updated(**{"first.demos": kept})
    optimizer = strategy.begin(problem(6, frozen='["demos"]', start=start))
    drive(optimizer, runs(lambda row, _: 1.0))
    assert optimizer.best.get("first.demos") == kept
    assert demos(optimizer.best, "second")


def test_without_rows_there_is_a_clear_error() -> None:
    with pytest.raises(OptimizeError, match="split `train` has no rows"):
        BootstrapFewShot().begin(problem(0))
    with pytest.raises(OptimizeError, match="`k` is -1"):
        LabeledFewShot(k=-1).begin(problem(3))


# -- bootstrap -----------------------------------------------------------------------------------------


def sequential(options: BootstrapFewShot, p: Problem, outcome: Any) -> tuple[dict[str, list[Any]], list[Any]]:
    """The algorithm one run after another. Gives demos of each predictor and the (row, round)s it ran."""
    names = ["first", "second"]
    rng = random.Random(0)
    size = min(options.max_labeled_demos, len(p.train))
    labelled = {n: rng.sample(p.train, size) for n in names}
    traces: dict[str, list[Any]] = {n: [] for n in names}
    done: list[int] = []
    ran: list[Any] = []
    for i, example in enumerate(p.train):
        if len(done) == options.max_bootstrapped_demos:
            break
        for attempt in range(options.max_rounds):
            teacher = {n: [e for e in labelled[n] if e != example] for n in names}
            ran.append((i, attempt, {n: [e.inputs["text"] for e in teacher[n]] for n in names}))
            score = outcome(i, attempt)
            threshold = options.metric_threshold
            if score is None or not (score >= threshold if threshold else score):
                continue
            found: dict[str, list[Any]] = {}
            for call in trace_of(i, attempt):
                found.setdefault(call.predictor, []).append({**call.inputs, **call.outputs})
            for n, calls in found.items():
                chosen = calls[-1]
                if len(calls) > 1:
                    r = random.Random(digest(tuple(Demo(Obj(c), True) for c in calls)))
                    chosen = r.choice(calls[:-1]) if r.random() < 0.5 else calls[-1]
                traces[n].append(chosen)
            done.append(i)
            break
    pool = [e for i, e in enumerate(p.train) if i not in done]
    random.Random(0).shuffle(pool)
    rng = random.Random(0)
    out = {}
    for n in names:
        made = traces[n][: options.max_bootstrapped_demos]
        raw = rng.sample(pool, max(0, min(options.max_labeled_demos - len(made), len(pool))))
        fields = ("text", "label") if n == "first" else ("text", "label", "why")
        out[n] = made + [{f: {**e.inputs, **e.labels}[f] for f in fields} for e in raw]
    return out, ran


@settings(max_examples=120, deadline=None)
@given(
    rows=st.integers(1, 12),
    outcomes=st.lists(st.sampled_from([0.0, 0.4, 1.0, None]), min_size=36, max_size=36),
    bootstrapped=st.integers(0, 5),
    labelled=st.integers(0, 8),
    rounds=st.integers(1, 3),
    threshold=st.sampled_from([None, 0.5]),
    speculate=st.sampled_from([1.0, 2.0, 9.0]),
    batch=st.sampled_from([1, 3, 4096]),
)
def test_bootstrapping_gives_what_the_sequential_algorithm_gives(
    rows: int,
    outcomes: list[float | None],
    bootstrapped: int,
    labelled: int,
    rounds: int,
    threshold: float | None,
    speculate: float,
    batch: int,
) -> None:
    options = BootstrapFewShot(
        max_bootstrapped_demos=bootstrapped,
        max_labeled_demos=labelled,
        max_rounds=rounds,
        metric_threshold=threshold,
        speculate=speculate,
    )

    def outcome(row: int, attempt: int) -> float | None:
        return outcomes[row * 3 + attempt]

    p = problem(rows)
    wanted, ran = sequential(options, p, outcome)
    optimizer = options.begin(p)
    jobs = drive(optimizer, runs(outcome), batch)
    assert {n: demos(optimizer.best, n) for n in wanted} == wanted
    asked = {(j.row, j.rollout): j for j in jobs if isinstance(j, RunJob)}
    for row, attempt, teacher in ran:
        job = asked[row, attempt]
        assert {n: texts(job.assignment, n) for n in teacher} == teacher
    if speculate == 1.0 and batch == 1:
        assert len(jobs) == len(ran)


def test_the_teacher_never_sees_the_row_it_runs() -> None:
    twins = (*examples(3), examples(3)[1])  # the last row equals the second
    optimizer = BootstrapFewShot().begin(Problem(problem().module, twins, 1))
    for job in optimizer.ask(99):
        assert isinstance(job, RunJob)
        assert twins[job.row].inputs["text"] not in texts(job.assignment, "first")
        assert len(texts(job.assignment, "first")) == (2 if job.row in (1, 3) else 3)


def test_many_rows_are_asked_for_at_once_and_no_more_than_the_window() -> None:
    optimizer = BootstrapFewShot(max_bootstrapped_demos=4, speculate=2).begin(problem(50))
    assert len(optimizer.ask(99)) == 8
    assert optimizer.ask(99) == []


def test_demos_of_runs_are_marked() -> None:
    optimizer = BootstrapFewShot(max_bootstrapped_demos=1, max_labeled_demos=2).begin(problem(5))
    drive(optimizer, runs(lambda row, _: float(row == 2)))
    first, second = optimizer.best.get("second.demos").items
    assert first.augmented
    assert dict(first.values) == {"text": "t2", "label": "b2.0", "why": "c2.0"}
    assert not second.augmented


def test_a_teacher_model_runs_the_rows_but_not_the_result() -> None:
    with pytest.raises(OptimizeError, match="defines no model `big`"):
        BootstrapFewShot(teacher_model="big").begin(problem(5))
    given = problem(5)
    given.module.add(DefModel.make(symbol="big"))
    optimizer = BootstrapFewShot(teacher_model="big").begin(given)
    (job, *_) = optimizer.ask(9)
    assert isinstance(job, RunJob)
    assert job.assignment.get("second.model") == "big"
    assert optimizer.best.get("second.model") is None


def test_a_teacher_that_keeps_its_demos_shows_none_of_the_row_it_runs() -> None:
    given = problem(5)
    own = given.with_demos(given.start, {"first": [e.demo(given.predictors()[0].signature) for e in examples(2)]})
    kept = replace(given, start=own)
    jobs = BootstrapFewShot(keep_demos=True).begin(kept).ask(9)
    assert [texts(j.assignment, "first") for j in jobs if isinstance(j, RunJob)][:3] == [["t1"], ["t0"], ["t0", "t1"]]


def test_predictors_that_are_not_reached_get_labelled_demos_of_a_whole_module() -> None:
    for whole, found in ((False, None), (True, ["t1"])):
        optimizer = BootstrapFewShot(1, 1).begin(replace(problem(2), whole=whole))
        drive(optimizer, runs(lambda row, _: 1.0))
        assert (texts(optimizer.best, "other") if whole else optimizer.best.get("other.demos")) == found


def test_without_speculation_no_row_is_asked_for_that_could_be_unneeded() -> None:
    optimizer = BootstrapFewShot(max_bootstrapped_demos=4, speculate=1.0).begin(problem(50))
    jobs = drive(optimizer, runs(lambda row, _: float(row % 3 == 2)), 4096)
    assert len(jobs) == 12


def test_too_many_errors_end_the_search() -> None:
    optimizer = BootstrapFewShot(max_errors=3).begin(problem(9))
    with pytest.raises(OptimizeError, match=r"3 runs failed, the last on row 2 of `train`: it broke"):
        drive(optimizer, runs(lambda row, _: None))


def test_the_demand_is_a_bound_that_shrinks() -> None:
    optimizer = BootstrapFewShot(max_bootstrapped_demos=2, max_rounds=2).begin(problem(6))
    assert (optimizer.demand().least, optimizer.demand().most) == (2, 12)
    (job, *_) = optimizer.ask(1)
    optimizer.tell(job, RunResult(1.0, trace_of(0)))
    assert (optimizer.demand().least, optimizer.demand().most) == (1, 10)
    drive(optimizer, runs(lambda row, _: 1.0))
    assert optimizer.demand().most == 0
