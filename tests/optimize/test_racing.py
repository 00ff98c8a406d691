"""Races: who is cut, what the optimizer is told of it, and that nothing depends on how jobs are handed out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from lampc.ir import Assignment
from lampc.passes.optimize import (
    COPRO,
    Compose,
    EvaluateJob,
    EvaluateResult,
    InstructionSearch,
    Job,
    OptimizeError,
    ParameterSearch,
    Result,
)
from lampc.passes.optimize.protocol import Optimizer, Problem, Strategy
from lampc.passes.optimize.racing import BERNSTEIN, HALVING, KINDS, OFF, Raced, begin, behind
from lampc.runtime.driver import problem_of
from lampc.runtime.dryrun import dry_run
from lampc.runtime.store import Store
from tests.optimize.behaviour import Planted
from tests.optimize.problems import drive, problem, scores
from tests.optimize.registered import names, options, run, strategy

POOL = [f"text {i}" for i in range(7)]


def search(kind: str, **more: Any) -> InstructionSearch:
    return InstructionSearch(**{"pool": POOL, "predictors": ("first",), **more}, racing=kind)


def by_row(score: Callable[[str, int], float]) -> Callable[[Job], Result]:
    """Answers by the instruction of `first` and the row."""

    def answer(job: Job) -> Result:
        assert isinstance(job, EvaluateJob)
        text = str(job.assignment.get("first.instruction") or "Label it.")
        return EvaluateResult(tuple(score(text, r) for r in job.rows), tokens=(7,) * len(job.rows))

    return answer


def cells(jobs: Sequence[Job]) -> set[tuple[Assignment, int]]:
    return {(j.assignment, r) for j in jobs if isinstance(j, EvaluateJob) for r in j.rows}


def worth(text: str, row: int) -> float:
    """Text i is right on rows below 5 i, whatever order they are in."""
    return float(row < 5 * (int(text.split()[1]) + 1)) if text.startswith("text") else 0.0


def raced(strategy: Strategy, given: Problem) -> Raced:
    made = begin(strategy, given)
    assert isinstance(made, Raced)
    return made


def test_halving_runs_half_as_many_on_twice_as_many_rows() -> None:
    optimizer = raced(search(HALVING), problem(select=40))
    jobs = drive(optimizer, by_row(worth))
    sizes = [len(j.rows) for j in jobs if isinstance(j, EvaluateJob)]
    assert sizes == [5] * 8 + [5] * 4 + [10] * 2 + [40]
    assert len(cells(jobs)) == 8 * 5 + 4 * 5 + 2 * 10 + 20
    assert sum(len(j.rows) for j in optimizer.cuts) == 8 * 40 - len(cells(jobs))
    assert optimizer.best.get("first.instruction") == "text 6"
    assert optimizer.demand().most == 0
    by_note = {c.note: c for c in optimizer.history}
    assert by_note["first: text 6"].score == pytest.approx(87.5)
    lost = by_note["first: text 0 (cut after 5 rows)"]
    assert lost.rows == 5
    assert lost.score == 100 * sum(worth("text 0", r) for r in optimizer_rows(40)[:5]) / 5


def optimizer_rows(n: int) -> list[int]:
    order = list(range(n))
    random.Random(0).shuffle(order)
    return order


@pytest.mark.parametrize("kind", [HALVING, BERNSTEIN])
def test_what_is_told_of_a_cut_candidate_is_below_the_best(kind: str) -> None:
    told: list[EvaluateResult] = []

    class Listening:
        def __init__(self, inner: Optimizer) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def tell(self, job: Job, result: Result) -> None:
            assert isinstance(result, EvaluateResult)
            assert isinstance(job, EvaluateJob)
            assert len(result.scores) == len(result.tokens) == len(job.rows) == 40
            told.append(result)
            self.inner.tell(job, result)

    optimizer = raced(search(kind), problem(select=40))
    fresh = Listening(search(kind).begin(problem(select=40)))
    optimizer = Raced(fresh, optimizer.racing)  # type: ignore[arg-type]
    drive(optimizer, by_row(worth))
    best = max(r.mean for r in told if not r.cut)
    assert [r for r in told if r.cut]
    assert all(round(r.mean, 2) < round(best, 2) for r in told if r.cut)
    for r in told:
        assert all(t == 7 for t in r.tokens)


def test_bounds_cut_what_is_clearly_behind_and_keep_what_is_close() -> None:
    def score(text: str, row: int) -> float:
        near = {"text 6": 1.0, "text 5": float(row % 10 != 0)}
        return near.get(text, float(row % 10 == 0))

    optimizer = raced(search(BERNSTEIN), problem(select=160))
    jobs = drive(optimizer, by_row(score))
    count = {t: sum(a.get("first.instruction") == t for a, _ in cells(jobs)) for t in POOL}
    assert count["text 6"] == 160
    assert count["text 5"] > 120
    assert all(count[t] <= 80 for t in POOL[:5])
    assert optimizer.best.get("first.instruction") == "text 6"


@pytest.mark.parametrize("kind", [HALVING, BERNSTEIN])
def test_small_asks_and_replays_give_the_same(kind: str) -> None:
    rng = random.Random(3)
    values = {(t, r): float(rng.random() < 0.1 * i) for i, t in enumerate(["Label it.", *POOL]) for r in range(40)}
    answer = by_row(lambda text, row: values[text, row])
    first, second = (begin(search(kind, predictors=(), rounds=2), problem(select=40)) for _ in range(2))
    assert drive(first, answer) == drive(second, answer, 1)
    assert (first.best, first.history) == (second.best, second.history)


def test_without_a_race_nothing_is_between() -> None:
    assert not isinstance(begin(search(OFF), problem(select=40)), Raced)
    with pytest.raises(OptimizeError, match="instructions: `racing` is 'yes'; it is off, halving or bernstein"):
        begin(search("yes"), problem(select=40))


def test_bounds_need_scores_from_0_to_1() -> None:
    optimizer = begin(search(BERNSTEIN), problem(select=40))
    with pytest.raises(OptimizeError, match="needs scores from 0 to 1"):
        drive(optimizer, scores(lambda a: 3.0))
    drive(begin(search(HALVING), problem(select=40)), scores(lambda a: 3.0))


def test_few_rows_are_no_race() -> None:
    optimizer = raced(search(HALVING), problem(select=4))
    plain = search(OFF).begin(problem(select=4))
    assert drive(optimizer, by_row(worth)) == drive(plain, by_row(worth))
    assert not optimizer.cuts
    assert optimizer.history == plain.history


def test_a_later_candidate_alone_races_against_the_best_so_far() -> None:
    """COPRO's and coordinate search's later candidates meet scores that are known already."""

    def score(text: str, row: int) -> float:
        return float(text == "text 1")

    optimizer = raced(search(BERNSTEIN, pool={"first": ["text 1"], "second": ["text 2"]}, predictors=()),
                      problem(select=40))  # fmt: skip
    jobs = drive(optimizer, lambda job: by_row(
        lambda t, r: score(t, r) * (job.assignment.get("second.instruction") is None))(job))  # type: ignore[union-attr]  # fmt: skip
    second = [j for j in jobs if isinstance(j, EvaluateJob) and j.assignment.get("second.instruction")]
    assert 0 < len(cells(second)) < 40
    assert optimizer.best == Assignment().updated(**{"first.instruction": "text 1"})


def test_bounds_are_wrong_as_rarely_as_they_say() -> None:
    rng = random.Random(11)
    wrong = right = 0
    for _ in range(400):
        n, p = rng.choice([40, 100, 300]), rng.choice([0.1, 0.5])
        population = [rng.choice([-1.0, 1.0]) if rng.random() < p else 0.0 for _ in range(n)]
        population = [*population[: n // 2], *(-x for x in population[: n // 2])]  # the mean is 0: never behind
        sample = rng.sample(population, len(population))
        wrong += any(behind(sample[:t], len(population), 0.05) for t in (n // 8, n // 4, n // 2, 3 * n // 4))
        ahead = [1.0] * (8 * n // 10) + [-1.0] * (n - 8 * n // 10)
        right += behind(rng.sample(ahead, n // 2), n, 0.05)
    assert wrong <= 0.05 * 400
    assert right >= 0.9 * 400


RACING = [n for n in names() if hasattr(type(strategy(n, Planted(0))), "racing")]


def test_the_optimizers_that_race() -> None:
    assert {"copro", "instructions", "parameters", "random_search", "simba"} <= set(RACING)
    assert COPRO().racing == ParameterSearch().racing == OFF == KINDS[0]


def savings(name: str, kind: str, seeds: int) -> tuple[float, float]:
    """Program runs, and points gained, under a race over those without one."""
    runs, gain = {OFF: 0, kind: 0}, {OFF: 0.0, kind: 0.0}
    for seed in range(seeds):
        task = Planted(seed)
        for how in runs:
            found = run(task, replace(strategy(name, task, seed), racing=how)).result  # type: ignore[type-var]
            runs[how] += found.runs
            gain[how] += (found.score_after or 0.0) - (found.score_before or 0.0)
            assert found.score_after == task.score(found.assignment)
    return runs[kind] / runs[OFF], gain[kind] / gain[OFF]


@pytest.mark.parametrize("kind", [HALVING, BERNSTEIN])
@pytest.mark.parametrize("name", ["copro", "instructions"])
def test_races_save_runs_and_lose_little(name: str, kind: str) -> None:
    runs, gain = savings(name, kind, 2)
    assert runs < (0.7 if kind == HALVING else 1.0)
    assert gain >= 0.8


LOSSES = {"simba": 0.4}  # its minibatches are small, and its parents are drawn by scores that are stand-ins in part


@pytest.mark.slow
@pytest.mark.parametrize("kind", [HALVING, BERNSTEIN])
@pytest.mark.parametrize("name", RACING)
def test_races_of_all_optimizers_save_runs_and_lose_little(name: str, kind: str) -> None:
    runs, gain = savings(name, kind, 6)
    assert runs <= (0.9 if kind == HALVING else 1.0)
    assert gain >= LOSSES.get(name, 0.75)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["copro", "instructions"])
def test_a_dry_run_bounds_a_race(name: str, kind: str) -> None:
    task = Planted(0)
    chosen = replace(strategy(name, task), racing=kind)  # type: ignore[type-var]
    plan = dry_run(problem_of(task.unit, task.train, task.dev, task.unit.entry), [chosen])
    found = run(task, chosen).result
    assert plan.wanted.least <= found.wanted - found.cut <= (plan.wanted.most or 0)
    assert plan.runs.least <= found.runs <= (plan.runs.most or 0)
    assert plan.wanted.exact == (kind == OFF)


def test_cells_that_were_cut_are_counted(tmp_path: Any) -> None:
    task = Planted(0)
    steps = [InstructionSearch(**options("instructions", task), racing=HALVING), strategy("labeled", task)]
    composed = Compose(tuple(steps)).begin(Problem(task.unit.module, (), len(task.dev), entry=task.unit.entry))
    assert composed.cuts == []
    with Store(tmp_path / "store") as store:
        first = run(task, steps[0], store=store).result
        again = run(task, steps[0], store=store).result
    assert first.cut > 0
    assert (again.again, again.cut) == (True, first.cut)
    cut = [c for c in first.history if "cut after" in c.note]
    assert first.cut == sum(len(task.dev) - c.rows for c in cut)
