"""Optimizers on problems whose best answer is known: they find it, or come near, within what they may change.

More seeds: `pytest -m slow tests/optimize/test_planted.py`. Curves over budget: `make bench-regret`.
"""

from __future__ import annotations

import random

import pytest

from lampc.ir import Assignment, Demo, DemoSet, Obj
from lampc.runtime.session import Session
from tests.optimize.behaviour import KINDS, LAYOUTS, BehaviourLM, Planted, feedback, sentence
from tests.optimize.registered import UNGUIDED, names, run, strategy, tunes

NEAR = {"mipro": 0.4, "bootstrap": 0.5, "bootstrap_optuna": 0.2, "infer_rules": 0.4, "simba": 0.3}
"""The share of what there was to gain that an optimizer gains at least, in the mean over seeds; 0.8 if not listed."""


def candidates(task: Planted, n: int) -> list[Assignment]:
    """The program as found, the planted optimum, and others by chance."""
    rng = random.Random(f"{task}")
    out = [Assignment(), task.best]
    for _ in range(n):
        values: dict[str, object] = {}
        for output, name in zip(task.outputs, task.names, strict=True):
            rows = rng.sample(task.train, rng.randint(0, 4))
            demos = [Demo(Obj({**task.demo(output, r).values, **({"label": r.labels["label"]}
                     if output == "label" else {"kind": rng.choice(KINDS)})})) for r in rows]  # fmt: skip
            values |= {f"{name}.instruction": rng.choice(task.pool()), f"{name}.demos": DemoSet(tuple(demos))}
            values[f"{name}.layout"] = rng.choice(LAYOUTS)
        out.append(Assignment().updated(**values))
    return out


@pytest.mark.parametrize("predictors", [1, 2])
def test_the_model_answers_as_its_surface_says(predictors: int) -> None:
    for seed in range(3):
        task = Planted(seed, predictors)
        with Session(model=BehaviourLM(task)) as session:
            for candidate in candidates(task, 8):
                outcomes = session.run(task.unit, task.dev, assignment=candidate)
                assert not [o.error for o in outcomes if o.error]
                right = sum(o.value == r.labels for o, r in zip(outcomes, task.dev, strict=True))
                assert 100 * right / len(task.dev) == task.score(candidate)
                if predictors == 1:  # quantiles are tenths
                    assert task.score(candidate) == pytest.approx(task.accuracy(candidate), abs=5.1)


@pytest.mark.parametrize("predictors", [1, 2])
def test_the_optimum_is_known_and_needs_all_parameters(predictors: int) -> None:
    for seed in range(20):
        task = Planted(seed, predictors)
        assert task.score(task.best) == task.accuracy(task.best) == 100.0
        for part in ("instruction", "demos", "layout"):
            assert task.reachable({"instruction", "demos", "layout"} - {part}) < 100.0
            assert task.accuracy(Assignment()) < 20.0


def test_instructions_that_it_writes_are_prose_that_follows_what_it_is_told() -> None:
    task = Planted(3)
    system = (
        "Your input fields are:\n1. `history` (str):\nYour output fields are:\n1. `proposed_instruction` (str):\n"
        "All interactions will be structured"
    )
    held = sentence("label", "metal", "age")
    told = feedback(task, "bird-001", "nowhere")
    asked = [{"role": "system", "content": system}, {"role": "user", "content": f"{held} {told}"}]
    texts = {task.reply(asked, draw) for draw in range(8)}
    assert len(texts) > 1
    assert texts == {task.reply(asked, draw) for draw in range(8)}
    bird = sentence("label", "bird", task.properties["label", "bird"][0])
    assert all("[[ ## proposed_instruction ## ]]" in t and bird in t for t in texts)
    assert sum(held in t for t in texts) > 1


def gained(name: str, seeds: range) -> float:
    """The mean share of what there was to gain."""
    shares = []
    for seed in seeds:
        task = Planted(seed)
        found = run(task, strategy(name, task, seed)).result
        before, most = task.score(Assignment()), task.reachable(tunes(name))
        assert found.score_after == task.score(found.assignment)
        assert found.score_before == before <= found.score_after <= 100.0
        shares.append((found.score_after - before) / (most - before) if most > before else 1.0)
    return sum(shares) / len(shares)


@pytest.mark.parametrize("name", names())
def test_optimizers_find_what_is_planted(name: str) -> None:
    share = gained(name, range(3 if name == "simba" else 2))
    assert share >= (0.0 if name in UNGUIDED else NEAR.get(name, 0.8)), share


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_optimizers_find_what_is_planted_for_twenty_seeds(name: str) -> None:
    share = gained(name, range(20))
    assert share >= (0.0 if name in UNGUIDED else NEAR.get(name, 0.8)), share
