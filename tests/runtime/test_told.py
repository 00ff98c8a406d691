"""What users are told: of failing metrics and rows, of calls by callbacks, of answers that cannot be read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import lampc
from lampc.frontend.python.tracing import trace
from lampc.ir.runner import NoSession, set_default_runner
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


# -- rows that fail ---------------------------------------------------------------------------------------


class Mine(Exception):
    """An error of the program's own."""


def refuse(question: str) -> str:
    raise Mine(question)


class Dynamic(lampc.Module):
    def forward(self, question: str) -> Any:
        raise Mine(question)


class Graph(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        return self.ask(question=refuse(question))


class Checks(Graph):
    def forward(self, question: str) -> Any:
        found = self.ask(question=question)
        if found.answer == "hi":
            raise ValueError("mine")
        return found


class Asserts(Graph):
    def forward(self, question: str) -> Any:
        found = self.ask(question=question)
        assert found.answer == "never", "not that"
        return found


@pytest.mark.parametrize("program", [Dynamic, Graph])
def test_a_failed_row_gives_the_exception_that_the_program_raised(program: Any) -> None:
    lampc.configure(lm=scripted(lampc))
    made, failed, errors = program().batch(ROWS[:2], return_failed_examples=True)
    assert made == [None, None]
    assert failed == ROWS[:2]
    assert [type(e) for e in errors] == [Mine, Mine]
    assert [str(e) for e in errors] == ["q0", "q1"]
    assert "(row 1)" in errors[1].__notes__[0]
    with pytest.raises(Mine, match="q1"):
        program().batch(ROWS[:2], max_errors=1)


def test_a_row_whose_model_fails_gives_the_error_of_the_model() -> None:
    class Down(lampc.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            raise lampc.LMTimeoutError("too slow")

    lampc.configure(lm=Down("down"))
    for program in (lampc.Predict("question -> answer"), Asserts()):
        _, _, errors = program.batch(ROWS[:1], return_failed_examples=True)
        assert isinstance(errors[0], lampc.LMTimeoutError)


def test_an_exception_raised_in_a_graph_keeps_its_class() -> None:
    lampc.configure(lm=scripted(lampc))
    assert trace(Checks()).dynamic is None
    _, _, errors = Checks().batch(ROWS[:1], return_failed_examples=True)
    assert isinstance(errors[0], ValueError)
    assert str(errors[0]) == "mine"


def test_a_failed_assertion_is_one() -> None:
    lampc.configure(lm=scripted(lampc))
    _, _, errors = Asserts().batch(ROWS[:1], return_failed_examples=True)
    assert isinstance(errors[0], AssertionError)
    assert "not that" in str(errors[0])


# -- no model ---------------------------------------------------------------------------------------------


class Without(Graph):
    def forward(self, question: str) -> Any:
        with lampc.context(lm=None):
            return self.ask(question=question)


def test_none_takes_the_model_away() -> None:
    ask = lampc.Predict("question -> answer")
    lampc.configure(lm=scripted(lampc))
    assert ask(question="q").answer == "hi"
    with lampc.context(lm=None), pytest.raises(ValueError, match="no model is set"):
        ask(question="q")
    with lampc.context(lm=None), pytest.raises(NoSession):
        ask.batch(ROWS[:1])
    _, _, errors = Without().batch(ROWS[:1], return_failed_examples=True)
    assert isinstance(errors[0], NoSession)
    with lampc.context(num_threads=1):
        assert ask(question="q").answer == "hi"
    lampc.configure(num_threads=2)
    assert ask(question="q").answer == "hi"
    lampc.configure(lm=None)
    assert settings.lm is None
    with pytest.raises(NoSession):
        ask(question="q")
    with pytest.raises(NoSession):
        asyncio.run(ask.acall(question="q"))
    with pytest.raises(NoSession):
        lampc.Parallel(max_errors=1)([(ask, {"question": "q"})])
    lampc.configure(model=scripted(lampc), lm=None)
    assert ask(question="q").answer == "hi"
