"""GEPA's search against the package `gepa`, step by step: equal parents, minibatches, children, merges and scores."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from gepa import EvaluationBatch, optimize
from gepa.strategies.proposal_sampling import PxNSampling
from gepa.strategies.proposal_selection import TopKImprovements

from lampc.ir import Assignment, Obj
from lampc.passes.optimize import (
    EvaluateJob,
    EvaluateResult,
    FeedbackJob,
    FeedbackResult,
    Job,
    Problem,
    Result,
    RunJob,
    RunResult,
    TracedCall,
)
from lampc.passes.optimize.gepa import GEPA
from lampc.passes.optimize.gepa_run import Evolution
from tests.optimize.problems import drive, examples, module

NAMES = ("first", "second", "other")


@dataclass
class World:
    """A made-up task: how well each text does on each row, and what is proposed for it; all by `seed` alone."""

    seed: int
    levels: int = 3
    shift: float = 0.0
    asked: list[str] = field(default_factory=list)

    def score(self, texts: dict[str, str], split: str, row: int) -> float:
        parts = [random.Random(f"{self.seed} {n} {t} {split} {row}").randint(0, self.levels) for n, t in texts.items()]
        return sum(parts) / (len(parts) * self.levels) + self.shift

    def proposal(self, candidate: dict[str, str], reflective_dataset: Any, components_to_update: Any) -> dict[str, str]:
        """Prose by what the component was told and how many proposals there were."""
        out = {}
        for name in components_to_update:
            self.asked.append(name)
            out[name] = f"{candidate[name]} Attempt {len(self.asked)} on {len(reflective_dataset[name])} calls."
        return out


class InOrder(set):  # type: ignore[type-arg]
    """A set whose texts come in the order of `NAMES`: the package goes through components in the order of a set, which
    is another in each process."""

    def __iter__(self) -> Any:
        items = list(super().__iter__())
        return iter(sorted(items, key=NAMES.index) if items and isinstance(items[0], str) else items)


@pytest.fixture(autouse=True)
def ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gepa.proposer.merge.set", InOrder, raising=False)


class Adapter:
    """The world as the package sees it."""

    def __init__(self, world: World, train: int) -> None:
        self.world, self.train = world, train

    def evaluate(self, batch: Any, candidate: dict[str, str], capture_traces: bool = False) -> Any:
        scores = [self.world.score(candidate, *item) for item in batch]
        return EvaluationBatch(list(batch), scores, list(batch) if capture_traces else None)

    def make_reflective_dataset(self, candidate: Any, eval_batch: Any, components_to_update: Any) -> Any:
        return {name: [{"Inputs": item} for item in eval_batch.trajectories] for name in components_to_update}

    def propose_new_texts(self, candidate: Any, reflective_dataset: Any, components_to_update: Any) -> Any:
        return self.world.proposal(candidate, reflective_dataset, components_to_update)


def theirs(world: World, train: int, val: int, **options: Any) -> tuple[Any, list[Any]]:
    """The package's result, and the (parents, minibatches) or merges of its iterations."""

    class Listener:
        log: list[Any] = []  # noqa: RUF012

        def on_iteration_end(self, event: Any) -> None:
            trace = event["state"].full_program_trace[-1]
            tasks = [(t["parent_idx"], tuple(t["subsample_ids"])) for t in trace.get("tasks", [])]
            self.log.append((trace.get("merged_entities"), tasks, trace.get("new_program_indices", [])))

    listener = Listener()
    listener.log = []
    result = optimize(
        seed_candidate={n: f"Seed of {n}." for n in NAMES},
        trainset=[("train", i) for i in range(train)], valset=[("dev", i) for i in range(val)],
        adapter=Adapter(world, train), reflection_lm=None, logger=type("Quiet", (), {"log": lambda self, text: None})(),
        callbacks=[listener], raise_on_exception=True, track_best_outputs=True, **options,
    )  # fmt: skip
    return result, listener.log


def ours(world: World, train: int, val: int, strategy: GEPA, n: int = 4096) -> tuple[Evolution, list[Job]]:
    """Our optimizer, its jobs answered by the same world."""
    seeds = Assignment(Obj({f"{name}.instruction": f"Seed of {name}." for name in sorted(NAMES)}))
    problem = Problem(module(), examples(train), val, seeds, whole=True)

    def answer(job: Job) -> Result:
        if isinstance(job, FeedbackJob):
            return FeedbackResult(0.0)
        assert isinstance(job, EvaluateJob | RunJob)
        texts = {name: str(job.assignment.get(f"{name}.instruction")) for name in NAMES}
        if isinstance(job, EvaluateJob):
            return EvaluateResult(tuple(world.score(texts, job.split, r) for r in job.rows))
        calls = tuple(TracedCall(name, Obj({"text": f"t{job.row}"}), Obj({"label": "x"})) for name in NAMES)
        return RunResult(world.score(texts, job.split, job.row), calls, outputs=Obj({"row": job.row}))

    optimizer = replace(strategy, proposer=world.proposal).begin(problem)
    return optimizer, drive(optimizer, answer, n)


def same(world: int, train: int, val: int, budget: int, **options: Any) -> Evolution:
    """Run both and hold them against each other."""
    levels = options.pop("levels", 3)
    known = {"component_selector": "module_selector", "seed": "seed"}
    given = {
        known.get(k, k): v for k, v in options.items() if k not in ("parents", "mutations", "keep", "accept_equal")
    }
    p, m, keep = (options.get(k, d) for k, d in (("parents", 1), ("mutations", 1), ("keep", 0)))
    given["sampling_strategy"] = PxNSampling(p, m)
    given["selection_strategy"] = TopKImprovements(keep) if keep else None
    given["acceptance_criterion"] = "improvement_or_equal" if options.get("accept_equal") else "strict_improvement"
    size = given.setdefault("reflection_minibatch_size", 3)
    given.setdefault("use_merge", True)
    expected, log = theirs(World(world, levels), train, val, max_metric_calls=budget, **given)
    strategy = GEPA(max_metric_calls=budget, **{**options, "reflection_minibatch_size": size})
    found, jobs = ours(World(world, levels), train, val, strategy)
    assert [(e.get("merged"), e.get("tasks", []), e.get("accepted", [])) for e in found.log] == log
    members = found.pool.members
    assert [m.texts for m in members] == expected.candidates
    assert [list(m.parents) or [None] for m in members] == expected.parents
    assert [dict(enumerate(m.scores)) for m in members] == expected.val_subscores
    assert found.pool.means == expected.val_aggregate_scores
    assert dict(enumerate(found.pool.fronts)) == expected.per_val_instance_best_candidates
    assert [m.discovered for m in members] == expected.discovery_eval_counts
    assert (found.calls, found.full_evaluations) == (expected.total_metric_calls, expected.num_full_val_evals)
    assert found.pool.best == expected.best_idx
    best = {n: found.best.get(f"{n}.instruction") for n in NAMES}
    assert best == expected.best_candidate
    cells = sum(len(j.rows) if isinstance(j, EvaluateJob) else isinstance(j, RunJob) for j in jobs)
    assert cells == found.calls
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_sequential_search_is_the_packages(seed: int) -> None:
    found = same(seed, train=10, val=8, budget=400, seed=seed, use_merge=False)
    assert len(found.pool.members) > 3


def test_with_merges() -> None:
    made = [same(s, train=7, val=9, budget=600, seed=s, use_merge=True, max_merge_invocations=3) for s in range(12)]
    merges = [entry for found in made for entry in found.log if "merged" in entry]
    assert len(merges) > 10
    assert {"accepted" in entry for entry in merges} == {True, False}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [
        {"parents": 3}, {"mutations": 2}, {"parents": 2, "mutations": 2, "keep": 1}, {"parents": 4, "keep": 2},
        {"parents": 2, "component_selector": "all", "use_merge": True}, {"accept_equal": True, "levels": 1},
        {"candidate_selection_strategy": "current_best"}, {"candidate_selection_strategy": "epsilon_greedy"},
        {"candidate_selection_strategy": "top_k_pareto"}, {"reflection_minibatch_size": 4},
        {"levels": 1, "component_selector": "all"}, {"levels": 1, "skip_perfect_score": False},
    ],
)  # fmt: skip
def test_with_options(options: dict[str, Any], seed: int) -> None:
    same(seed, train=8, val=6, budget=300, seed=seed, **options)


def test_few_training_rows_fill_a_minibatch() -> None:
    same(1, train=2, val=6, budget=120, seed=3)


def test_scores_that_make_no_weights_end_the_packages_search_and_not_ours() -> None:
    """It draws ancestors by their scores, and `random.choices` takes no weights whose sum is 0 or less."""
    ended = 0
    for seed in range(12):
        strategy = GEPA(max_metric_calls=600, seed=seed)
        found, _ = ours(World(seed, shift=-1.0), 7, 9, strategy)
        assert found.calls >= 600
        try:
            theirs(World(seed, shift=-1.0), 7, 9, max_metric_calls=600, seed=seed, use_merge=True)
        except ValueError as e:
            assert "Total of weights" in str(e)  # noqa: PT017
            ended += 1
            assert any("merged" in entry for entry in found.log)
    assert ended > 3
