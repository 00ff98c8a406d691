"""Outputs do not depend on scheduling: one program, many ways to run it, the same answers, token for token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lampc.ir import Module
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Row
from tests.backend.checkpoints import save_checkpoint
from tests.runtime.programs import CASES

WAYS: dict[str, dict[str, Any]] = {
    "together": {},
    "one by one": {"max_live": 1},
    "without cache": {"prefix_cache": False},
    "one by one without cache": {"max_live": 1, "prefix_cache": False},
    "in chunks": {"model_options": {"chunk": 8, "max_batch_tokens": 16}},
    "two at a time": {"model_options": {"max_running": 2}},
    "naive": {"engine": "naive"},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_checkpoint(tmp_path_factory.mktemp("llama"), seed=3))


def answers(program: Module, inputs: list[dict[str, Any]], **options: Any) -> list[Any]:
    """Values and the raw texts of all calls, row by row."""
    with Session(**options) as session:
        outcomes = session.run(program, [Row(str(i), x) for i, x in enumerate(inputs)])
    return [(o.value, o.error and o.error.message, [s.text for s in o.trace]) for o in outcomes]


@pytest.mark.parametrize("name", CASES)
def test_every_way_gives_the_same_tokens(name: str, checkpoint: str) -> None:
    program, inputs = CASES[name]
    results = {way: answers(program, inputs, model=checkpoint, **options) for way, options in WAYS.items()}
    for way, result in results.items():
        assert result == results["naive"], way


@pytest.mark.parametrize("name", ["chain", "sampled", "loop"])
def test_a_run_that_was_cut_short_goes_on_to_the_same_end(name: str, checkpoint: str, tmp_path: Path) -> None:
    program, inputs = CASES[name]
    wanted = answers(program, inputs, model=checkpoint)

    class Cut(Exception):
        pass

    class CutStore(Store):
        def put(self, *args: Any, **kwargs: Any) -> None:
            super().put(*args, **kwargs)
            if self.count("call") >= 4:
                raise Cut

    with CutStore(tmp_path / "store") as store, pytest.raises(Cut):
        answers(program, inputs, model=checkpoint, store=store)
    with Store(tmp_path / "store") as store:
        assert store.count("call") == 4
        assert answers(program, inputs, model=checkpoint, store=store) == wanted


@pytest.mark.parametrize("name", CASES)
def test_prompt_tokens_computed_are_those_of_the_prefix_tree(name: str, checkpoint: str) -> None:
    program, inputs = CASES[name]
    with Session(model=checkpoint) as session:
        session.run(program, [Row(str(i), x) for i, x in enumerate(inputs)])
        bound = session.bound()
        assert bound is not None
        assert bound <= session.usage.computed_tokens <= 1.02 * bound + 1
