"""What users are told: of failing metrics and rows, of calls by callbacks, of answers that cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import OptimizeError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    set_default_runner(None)
    settings.reset()


def scripted(dsp: Any, text: str = "[[ ## answer ## ]]\nhi\n\n[[ ## completed ## ]]") -> Any:
    """An LM of lampc or of DSPy that always writes `text`."""

    class Scripted(dsp.BaseLM):  # type: ignore[misc]
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            message = SimpleNamespace(content=text)
            return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage={}, model="m")

    return Scripted("told")


ROWS = [lampc.Example(question=f"q{i}", answer="hi").with_inputs("question") for i in range(12)]


def broken(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(prediction.anwser == example.answer)


def seldom(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.question not in ("q1", "q2") or prediction.anwser)


# -- metrics that raise ---------------------------------------------------------------------------------


def test_one_warning_names_the_first_error_of_a_metric(caplog: pytest.LogCaptureFixture) -> None:
    lampc.configure(lm=scripted(lampc))
    with caplog.at_level(logging.WARNING, "lampc"):
        found = lampc.Evaluate(devset=ROWS, metric=broken, num_threads=1)(lampc.Predict("question -> answer"))
    (record,) = caplog.records
    assert found.score == 0.0
    assert record.getMessage().startswith("12 of 12 rows failed and score 0.0; the first: ")
    assert "metric `broken` failed on row 0: AttributeError:" in record.getMessage()
    assert "anwser" in record.getMessage()
    caplog.clear()
    lampc.Evaluate(devset=ROWS, metric=lambda e, p: e.answer == p.answer)(lampc.Predict("question -> answer"))
    assert not caplog.records


def test_bootstrap_gives_up_on_a_broken_metric() -> None:
    lampc.configure(lm=scripted(lampc))
    with pytest.raises(OptimizeError, match=r"10 runs failed.*metric `broken`.*anwser"):
        lampc.BootstrapFewShot(metric=broken).compile(lampc.Predict("question -> answer"), trainset=ROWS)
    with pytest.raises(OptimizeError, match=r"every one of 3 runs failed; the first: .*row 0"):
        lampc.BootstrapFewShot(metric=broken).compile(lampc.Predict("question -> answer"), trainset=ROWS[:3])
    with lampc.context(max_errors=2), pytest.raises(OptimizeError, match="2 runs failed"):
        lampc.BootstrapFewShot(metric=broken).compile(lampc.Predict("question -> answer"), trainset=ROWS)


def test_bootstrap_warns_of_runs_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    lampc.configure(lm=scripted(lampc))
    optimizer = lampc.BootstrapFewShot(metric=seldom, max_bootstrapped_demos=3, max_labeled_demos=0)
    with caplog.at_level(logging.WARNING, "lampc"):
        made = optimizer.compile(lampc.Predict("question -> answer"), trainset=ROWS)
    assert [d.question for d in made.demos] == ["q0", "q3", "q4"]
    (record,) = caplog.records
    assert "2 of 5 runs failed; the first: " in record.getMessage()
