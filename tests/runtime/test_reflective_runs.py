"""GEPA and SIMBA run: from `.lmp` with a model of its own that writes, and on firefly, which writes no prose."""

from __future__ import annotations

from typing import Any

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.passes.optimize import optimizers
from lampc.runtime.driver import optimize, problem_of
from lampc.runtime.dryrun import dry_run
from lampc.runtime.metrics import build_metric
from lampc.runtime.optimized import OptimizeResult
from lampc.runtime.session import Session
from tests.python.both import answered
from tests.runtime.loopback import Loopback, Messages
from tests.runtime.tuning import DEV, TRAIN, Counting, engine

SOURCE = """
model writer = endpoint("{url}", model: "loop");
signature Turn(text: str) -> (label: str) {{ "Do it." }}
module Main(text: str) -> (label: str) {{
  use p = Predict(Turn) @layout(compact);
  let found = p(text: text);
  return (label: found.label);
}}
optimize Main with {step} on words.train select words.dev by exact_match save "t.lampc";
dataset words: (text: str, label: str) = csv("words.csv", split: "split");
"""
BETTER = "Reverse the word, letter by letter."
GEPA = 'gepa(max_metric_calls: 80, reflection_model: "writer")'
SIMBA = 'simba(bsize: 6, num_candidates: 6, max_steps: 5, prompt_model: "writer")'


def writes(messages: Messages) -> str:
    """Prose for whatever is asked for."""
    if "new_instruction" in messages[-1]["content"]:
        return answered(new_instruction=BETTER)
    return answered(discussion="The better run turned the word round.", module_advice='{"p": "Reverse the word."}')


def run(step: str, model: Any, url: str = "http://127.0.0.1:9") -> OptimizeResult:
    unit = compile_lmp(SOURCE.format(url=url, step=step), "turn.lmp")
    (declared,) = unit.optimizes
    with Session() as root:
        session = root if model is None else root.using(model)  # in the place of the main model alone
        return optimize(
            unit, session, steps=optimizers(declared.steps), train=TRAIN, select=DEV, metric=build_metric("exact_match")
        )


@pytest.mark.parametrize("step", [GEPA, SIMBA])
def test_a_declared_model_writes_and_another_does_the_task(step: str) -> None:
    reply = Counting()
    with Loopback(writes) as server:
        result = run(step, engine(reply), server.url)
        asked = [m["messages"][-1]["content"] for m in server.requests]
    assert asked
    assert all("amber" in a or "label" in a for a in asked)  # it sees calls, or runs
    assert not any("new_instruction" in p or "discussion" in p for p in reply.prompts)
    tried = {str(c.assignment.get("p.instruction")) for c in result.history}
    assert BETTER in tried or "Do it.\n\nReverse the word." in tried
    assert result.score_before is not None
    assert result.score_after is not None
    assert result.score_after > result.score_before


@pytest.mark.parametrize(
    "step",
    [
        'gepa(max_metric_calls: 40, pool: ["Reverse the word."])',
        'gepa(max_metric_calls: 40, proposer: "templates")',
        "simba(bsize: 3, num_candidates: 2, max_steps: 1, rules: false)",
    ],
)
def test_firefly_needs_no_other_model(step: str) -> None:
    result = run(step, None)
    assert len(result.history) > 1
    assert result.score_after is not None
    assert result.score_after >= (result.score_before or 0.0)


@pytest.mark.parametrize("step", [GEPA, SIMBA])
def test_a_dry_run_needs_no_model_and_bounds_the_run(step: str) -> None:
    unit = compile_lmp(SOURCE.format(url="http://127.0.0.1:9", step=step), "turn.lmp")
    (declared,) = unit.optimizes
    plan = dry_run(problem_of(unit, TRAIN, DEV), optimizers(declared.steps))
    reply = Counting()
    with Loopback(writes) as server:
        result = run(step, engine(reply), server.url)
    assert plan.wanted.most is not None
    assert result.runs <= plan.wanted.most
    assert plan.proposals.most is not None
    assert len(server.requests) <= plan.proposals.most


def test_a_model_that_cannot_write_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    said = "firefly writes no prose, and is asked for instructions"
    run("gepa(max_metric_calls: 40)", None)
    assert caplog.text.count(said) == 1
    caplog.clear()
    run('gepa(max_metric_calls: 40, proposer: "edits")', None)
    assert said not in caplog.text
