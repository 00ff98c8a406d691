"""MIPROv2 and DSPy's: with the same proposals the same trials, rows, scores and winner, on a scripted model.

Each setting with the other number of predictors: `pytest -m slow tests/python/test_mipro_dspy.py`.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import dspy
import pytest

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize.mipro.plan import select_sample
from lampc.passes.optimize.mipro.search import Search, Trial
from tests.python.both import Judged, configured, program, prompt_model, rows, state, task_model

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    level = logging.getLogger("dspy").level
    logging.getLogger("dspy").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # it prints
        yield
    logging.getLogger("dspy").setLevel(level)
    set_default_runner(None)
    settings.reset()


def proposing(d: Any, each: int) -> Any:
    """Writes the instructions of a predictor by number. DSPy asks for one more, which it throws away: the first."""

    def script(n: int, name: str) -> dict[str, str]:
        if name != "proposed_instruction":
            return {name: "Prose about it."}
        predictor, i = divmod(n, each) if d is dspy else divmod(n, each - 1)
        return {name: f"Follow variant {i if d is dspy else i + 1} for predictor {predictor}."}

    return prompt_model(d, script)


def compiled(
    d: Any, predictors: int, made: dict[str, Any], given: dict[str, Any], val: int, each: int, taught: bool = False
) -> tuple[Any, Judged, Any]:
    judged, task, prompt = Judged(), task_model(d), proposing(d, each)
    with configured(d, task):
        if taught:
            teacher = d.LabeledFewShot(k=3).compile(program(d, predictors), trainset=rows(d, 12))
            teacher._compiled = True
            made = {**made, "teacher_settings": {"lm": task_model(d, "teacher", 0.7)}}
            given = {**given, "teacher": teacher}
        found = d.MIPROv2(metric=judged.metric(), prompt_model=prompt, task_model=task, num_threads=1, **made).compile(
            program(d, predictors), trainset=rows(d, 12), valset=rows(d, val, 100), **given
        )
    return found, judged, prompt


def log_of(found: Any) -> dict[int, dict[str, Any]]:
    return {
        n: {k: v for k, v in entry.items() if not k.endswith(("_program", "_path"))}
        for n, entry in found.trial_logs.items()
    }


def judged_by_trial(found: Any, asked: list[tuple[str, str]]) -> list[list[tuple[str, float]]]:
    """Of each trial of DSPy's the rows, and whether they were right, in order."""
    ends = [log["total_eval_calls_so_far"] for _, log in sorted(found.trial_logs.items())]
    scored = [(word, float(word == answer)) for word, answer in asked]
    return [scored[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Rows, by their place in what is scored, and scores of each of our trials."""
    seen: list[tuple[tuple[int, ...], tuple[float, ...]]] = []
    take = Search._take

    def heard(self: Search, trial: Trial) -> None:
        assert trial.cells.result is not None
        seen.append((trial.cells.rows, trial.cells.result.scores))
        take(self, trial)

    monkeypatch.setattr(Search, "_take", heard)
    return seen


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any], int, int]] = {
    "light": ({}, {}, 60, 3),
    "without minibatches": ({}, {}, 20, 3),
    "zero-shot": ({"max_bootstrapped_demos": 0, "max_labeled_demos": 0}, {}, 60, 6),
    "sampled rows": ({"seed": 3, "metric_threshold": 0.5}, {"minibatch_size": 20}, 140, 3),
    "medium, taught": ({"auto": "medium"}, {}, 55, 6),
    "own counts": (
        {"auto": None, "num_candidates": 5, "max_bootstrapped_demos": 2, "max_labeled_demos": 0},
        {"num_trials": 13, "minibatch_size": 9, "minibatch_full_eval_steps": 4, "seed": 4, "tip_aware_proposer": False},
        25,
        5,
    ),
}
"""Arguments of the constructor, of `compile`, validation rows, and instructions of each predictor."""


SOON = [("light", 2), ("without minibatches", 1), ("zero-shot", 2), ("sampled rows", 1), ("medium, taught", 1),
        ("own counts", 2)]  # fmt: skip
LATER = [pytest.param(n, 3 - p, marks=pytest.mark.slow) for n, p in SOON]


@pytest.mark.parametrize(("name", "predictors"), [*SOON, *LATER])
def test_trials_are_dspys(name: str, predictors: int, scored: list[tuple[tuple[int, ...], tuple[float, ...]]]) -> None:
    made, given, val, _ = SETTINGS[name]
    (ours, _, _), (theirs, judge, _) = (
        compiled(d, predictors, *SETTINGS[name], taught="taught" in name) for d in (lampc, dspy)
    )
    assert log_of(ours) == log_of(theirs)
    drawn = select_sample(made.get("auto", "light"), given.get("seed", made.get("seed", 9)), val)
    rows_of = [[(f"w{100 + drawn[i]}", s) for i, s in zip(rows, scores, strict=True)] for rows, scores in scored]
    assert rows_of == judged_by_trial(theirs, judge.asked)
    assert ours.score == theirs.score
    assert state(ours) == state(theirs)
    for kept in ("candidate_programs", "mb_candidate_programs"):
        a, b = ([(c["score"], c["full_eval"], state(c["program"])) for c in getattr(x, kept)] for x in (ours, theirs))
        assert a == b
    assert len({tuple(e.items()) for e in log_of(ours).values()}) > 5
