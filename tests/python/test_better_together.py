"""BetterTogether of prompts and weights on the bundled model: `pytest -m slow tests/python/test_better_together.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

import lampc
from tests.python.test_finetune import FAST, INSTRUCTION, KINDS, fresh, right, rows

__all__ = ["fresh"]  # a fixture


@pytest.mark.slow
def test_demos_and_weights_are_tuned_in_turn(tmp_path: Path) -> None:
    teacher = lampc.Predict(lampc.Signature("text -> kind", INSTRUCTION))
    teacher.set_lm(lampc.LM("teacher", engine=lambda messages: "kind: " + KINDS[messages[-1]["content"].split()[-1]]))
    student = lampc.Predict(lampc.Signature("text -> kind", INSTRUCTION))
    lampc.configure(lm=lampc.LM("firefly"), adapter="compact")
    data = rows(lampc)
    optimizer = lampc.BetterTogether(
        right,
        p=lampc.BootstrapRS(right, num_candidate_programs=1, max_labeled_demos=2, max_bootstrapped_demos=1),
        w=lampc.BootstrapFinetune(metric=right, train_kwargs=FAST),
    )
    made = optimizer.compile(
        student, trainset=data[:20], valset=data[20:], strategy="p -> w -> p", seed=0,
        optimizer_compile_args={"w": {"teacher": teacher}},
    )  # fmt: skip
    found = {c["strategy"]: c["score"] for c in made.candidate_programs}
    assert not made.flag_compilation_error_occurred
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found[""] < found["p -> w"]
    assert made.candidate_programs[0]["score"] >= 90.0
    assert Path(made.lm.model).parent == tmp_path / "cache" / "adapters"
    assert lampc.Evaluate(devset=data[20:], metric=right)(made).score == made.candidate_programs[0]["score"]
