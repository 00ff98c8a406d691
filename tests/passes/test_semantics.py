"""Passes labelled E do not change what a program gives, which calls it makes and in which order its effects happen.

Generated programs run before and after in interpreters that share one model; see `tests.passes.twin`.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lampc.ir import Module
from lampc.passes import LABELS, PASSES, STANDARD, PassContext, Pipeline, RunOptions, load
from tests.content import words
from tests.fakes import TEMPLATES, FakeTarget
from tests.passes.twin import Outcome, run
from tests.strategies import programs

OPTIONS = RunOptions(verify_each=True, round_trip=True, crash_dir=None)
law = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
inputs = st.fixed_dictionaries({"text": words, "items": st.lists(words, max_size=3)})

SAME_CALLS = ("inline", "fold", "speculate", "lower-prompts", "lower-kv", "share-prefix", "liveness")
"""Passes that leave every call; the others may make equal calls one and drop calls that nothing uses."""

FIRST = {
    "lower-kv": "lower-prompts,",
    "closed-sets": "lower-prompts,lower-kv,",
    "share-prefix": "lower-prompts,lower-kv,",
    "liveness": "lower-prompts,lower-kv,",
}


def exact() -> list[str]:
    return [name for name in PASSES if load(name).label == "E"]  # type: ignore[attr-defined]


def test_every_pass_has_a_label_and_its_own_name() -> None:
    for name in PASSES:
        cls: Any = load(name)
        assert cls.label in LABELS, name
        assert cls.name == name
        assert cls.__doc__, name
    assert set(SAME_CALLS) <= set(exact())


@pytest.mark.parametrize("name", exact())
def test_exact_passes_keep_results_calls_and_effects(name: str) -> None:
    @law
    @given(programs(), inputs, st.sampled_from(sorted(TEMPLATES)))
    def holds(module: Module, row: dict[str, Any], template: str) -> None:
        target = FakeTarget(TEMPLATES[template])
        before = run(module, row, target, "program")
        Pipeline.parse(FIRST.get(name, "") + name).run(module, PassContext(target), OPTIONS)
        compare(before, run(module, row, target, "program"), same_calls=name in SAME_CALLS)

    holds()


@pytest.mark.parametrize("pipeline", [STANDARD, "inline,hoist,cse,fold,dce,cse,hoist,dce,fold"])
@pytest.mark.parametrize("examples", [25, pytest.param(400, marks=pytest.mark.slow)])
def test_pipelines_keep_results_calls_and_effects(pipeline: str, examples: int) -> None:
    @settings(law, max_examples=examples)
    @given(programs(), inputs, st.sampled_from(sorted(TEMPLATES)))
    def holds(module: Module, row: dict[str, Any], template: str) -> None:
        target = FakeTarget(TEMPLATES[template])
        before = run(module, row, target, "program")
        Pipeline.parse(pipeline).run(module, PassContext(target), OPTIONS)
        compare(before, run(module, row, target, "program"), same_calls=False)
        text = str(module)
        Pipeline.parse(pipeline).run(module, PassContext(target), OPTIONS)
        assert str(module) == text or "hoist" in pipeline, "a second run finds nothing to do"

    holds()


def compare(before: Outcome, after: Outcome, same_calls: bool) -> None:
    if before.error:
        return  # a failing row may fail elsewhere, or no more if what failed was not used
    assert after.error == ""
    assert after.value == before.value
    assert after.effects == before.effects
    if same_calls:
        assert after.calls == before.calls
        return
    assert set(after.calls) <= set(before.calls)
    for call in set(after.calls):
        assert after.calls.count(call) <= before.calls.count(call)
