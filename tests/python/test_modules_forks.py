"""Samples and attempts are forks of one prefix: our engine computes the prompt once, whatever their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import lampc
from lampc.frontend.python import trace
from lampc.ir.runner import find_runner, set_default_runner
from lampc.runtime.scripted import DummyLM
from lampc.runtime.types import Row, Usage

TEXT = "The old dog saw a red car near the house, and the cat slept in the warm sun all day long. " * 3
BLOCK = 16
"""Tokens of a block of K/V: what of a prompt lies in a block that it does not fill is computed again."""


@pytest.fixture
def runner() -> Iterator[Any]:
    lampc.configure(model="firefly")
    yield find_runner()
    lampc.configure(lm=DummyLM([]))
    set_default_runner(None)


def cost(runner: Any, run: Any) -> Usage:
    before = runner.root.usage
    run()
    spent: Usage = runner.root.usage - before
    return spent


def test_samples_of_one_call_share_its_prompt(runner: Any) -> None:
    ask = lampc.Predict("text -> animal", max_tokens=6, n=8)
    spent = cost(runner, lambda: ask(text=TEXT))
    assert spent.calls == 8
    prompt = spent.prompt_tokens // 8
    assert spent.computed_tokens <= prompt + 8 * BLOCK
    assert spent.computed_tokens < spent.prompt_tokens / 3


def never(args: dict[str, Any], pred: Any) -> float:
    return -float(len(pred.animal))


@pytest.mark.parametrize("graph", [False, True])
def test_attempts_share_their_prompt(runner: Any, graph: bool) -> None:
    best = lampc.BestOfN(lampc.Predict("text -> animal", max_tokens=6), 8, never, 0.0)
    if graph:
        unit = trace(best)
        assert unit.dynamic is None
        spent = cost(runner, lambda: runner.session.run(unit, [Row("0", {"text": TEXT})]))
    else:
        spent = cost(runner, lambda: best(text=TEXT))
    assert spent.calls == 8
    assert spent.computed_tokens <= spent.prompt_tokens // 8 + 8 * BLOCK


def test_advice_keeps_the_prefix(runner: Any) -> None:
    """The prompts of attempts with advice begin with that of the attempt without, as far as its inputs."""
    ask = lampc.Predict("text -> animal", max_tokens=6)
    from lampc.frontend.python.modules.hints import hinting

    first = cost(runner, lambda: ask(text=TEXT))

    def advised() -> None:
        for i in range(4):
            with hinting({id(ask): f"advice number {i}"}, late=True):
                ask(text=TEXT)

    spent = cost(runner, advised)
    assert spent.calls == 4
    assert spent.computed_tokens <= 4 * 3 * BLOCK < first.prompt_tokens * 4 / 2
