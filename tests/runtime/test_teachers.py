"""Teachers of DSPy's optimizers: which model they ask, how often, with which demos; and what the student is given."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import dspy
import pytest

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import OptimizeError
from lampc.runtime.models import ModelError

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")
LIBRARIES = pytest.mark.parametrize("d", [lampc, dspy], ids=["lampc", "dspy"])


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):  # DSPy's optimizers print
        yield
    set_default_runner(None)
    settings.reset()


def named(d: Any, name: str) -> Any:
    """An LM of library `d` that answers with its name, and keeps what it is asked."""

    class Named(d.BaseLM):  # type: ignore[misc]
        seen: ClassVar[list[list[str]]] = []  # DSPy's copies of a program copy its models

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            self.seen.append([m["content"] for m in messages])
            message = SimpleNamespace(content=f"[[ ## answer ## ]]\n{self.model}\n\n[[ ## completed ## ]]")
            return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage={}, model=self.model)

    return Named(name, cache=False)


def configured(d: Any, lm: Any) -> Any:
    if d is lampc:
        lampc.configure(lm=lm)
        return contextlib.nullcontext()
    return dspy.context(lm=lm)


def rows(d: Any, n: int = 12) -> list[Any]:
    return [d.Example(question=f"q{i}", answer=f"a{i}").with_inputs("question") for i in range(n)]


def always(example: Any, prediction: Any, trace: Any = None) -> bool:
    return True


def program(d: Any, dynamic: bool = False) -> Any:
    class Asks(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ask = d.Predict("question -> answer")
            self.spare = d.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.ask(question=question)

    class Guards(Asks):
        def forward(self, question: str) -> Any:
            try:
                return self.ask(question=question)
            except ZeroDivisionError:
                return None

    return Guards() if dynamic else Asks()


@LIBRARIES
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("where", ["settings", "program", "both"])
def test_the_teachers_model_is_asked_and_no_other(d: Any, where: str, dynamic: bool) -> None:
    student, teacher, third = (named(d, n) for n in ("student", "teacher", "third"))
    other = program(d, dynamic)
    if where != "settings":
        other.set_lm(teacher)
    given = {} if where == "program" else {"lm": teacher if where == "settings" else third}
    with configured(d, student):
        made = d.BootstrapFewShot(metric=always, teacher_settings=given, max_labeled_demos=0).compile(
            program(d, dynamic), teacher=None if where == "settings" else other, trainset=rows(d)
        )
        assert [x.answer for x in made.ask.demos] == ["teacher"] * 4
        assert (len(teacher.seen), student.seen, third.seen) == (4, [], [])
        assert made(question="x").answer == "student"


@LIBRARIES
def test_a_bare_predictor_is_taught(d: Any) -> None:
    teacher, other = named(d, "teacher"), d.Predict("question -> answer")
    other.set_lm(teacher)
    with configured(d, named(d, "student")):
        made = d.BootstrapFewShot(metric=always, max_labeled_demos=0).compile(
            d.Predict("question -> answer"), teacher=other, trainset=rows(d, 2)
        )
    assert [x.answer for x in made.demos] == ["teacher"] * 2
    assert made.lm is None
    assert other.demos == []


def test_a_teacher_keeps_its_model_with_labelled_demos_too() -> None:
    teacher, other = named(lampc, "teacher"), program(lampc)
    other.set_lm(teacher)
    lampc.configure(lm=named(lampc, "student"))
    made = lampc.BootstrapFewShot(metric=always).compile(program(lampc), teacher=other, trainset=rows(lampc))
    assert [x.answer for x in made.ask.demos[:4]] == ["teacher"] * 4


@LIBRARIES
@pytest.mark.parametrize("compiled", [False, True])
def test_a_compiled_teacher_shows_its_own_demos(d: Any, compiled: bool) -> None:
    teacher, other, data = named(d, "teacher"), program(d), rows(d)
    other.ask.demos = [d.Example(question="own", answer="demo"), data[1]]
    other._compiled = compiled
    with configured(d, teacher):
        d.BootstrapFewShot(metric=always, max_bootstrapped_demos=2, max_labeled_demos=3).compile(
            program(d), teacher=other, trainset=data
        )
    first, second = ("\n".join(s) for s in teacher.seen)
    assert ("own" in first, "own" in second) == (compiled, compiled)
    assert not compiled or ("a1" in first and "a1" not in second)  # never the row's own


@LIBRARIES
@pytest.mark.parametrize("fails", [(), ("q0", "q3", "q4")])
def test_no_run_is_made_that_is_not_needed(d: Any, fails: tuple[str, ...]) -> None:
    lm = named(d, "student")

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        return example.question not in fails

    with configured(d, lm):
        d.BootstrapFewShot(metric=metric).compile(program(d), trainset=rows(d))
    assert len(lm.seen) == 4 + len(fails)


def test_students_are_dspys() -> None:
    """The same demos for every predictor, those that are never reached too, with what they know of their inputs."""
    found = []
    for d in (lampc, dspy):
        data = rows(d)
        with configured(d, named(d, "student")):
            made = d.BootstrapFewShot(metric=always, max_bootstrapped_demos=2, max_labeled_demos=5).compile(
                program(d), trainset=data
            )
            labelled = d.LabeledFewShot(k=3).compile(program(d), trainset=data)
        assert all(x in data for p in (made.spare, labelled.ask, labelled.spare) for x in p.demos)
        found.append(
            [
                [(x.toDict(), x._input_keys) for x in p.demos]
                for p in (made.ask, made.spare, labelled.ask, labelled.spare)
            ]
            + [made._compiled, labelled._compiled]
        )
    assert found[0] == found[1]
    assert [len(x) for x in found[0][:4]] == [5, 5, 3, 3]


def test_labelled_demos_need_no_model() -> None:
    made = lampc.LabeledFewShot(k=2).compile(lampc.Predict("question -> answer"), trainset=rows(lampc))
    assert [x.inputs().toDict() for x in made.demos] == [{"question": x.question} for x in made.demos]
    assert lampc.LabeledFewShot().compile(program(lampc), trainset=[]).ask.demos == []


@LIBRARIES
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_trace_holds_predictors(d: Any, dynamic: bool) -> None:
    steps: list[Any] = []

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        steps.extend(trace)
        return True

    teacher = program(d, dynamic)
    with configured(d, named(d, "student")):
        d.BootstrapFewShot(metric=metric, max_bootstrapped_demos=1).compile(
            program(d, dynamic), teacher=teacher, trainset=rows(d)
        )
    ((predictor, inputs, prediction),) = steps
    assert isinstance(predictor, d.Predict)
    assert list(predictor.signature.output_fields) == ["answer"]
    assert (inputs, prediction.answer) == ({"question": "q0"}, "student")
    assert predictor is not teacher.ask


def test_what_cannot_teach_is_refused() -> None:
    lampc.configure(lm=named(lampc, "student"))
    for teacher, why in (
        (lampc.Predict("question -> answer"), "not in both"),
        (lampc.ChainOfThought("question -> answer"), "one of other fields"),
    ):
        student = program(lampc) if why == "not in both" else lampc.Predict("question -> answer")
        with pytest.raises(OptimizeError, match=why):
            lampc.BootstrapFewShot(metric=always).compile(student, teacher=teacher, trainset=rows(lampc))
    with pytest.raises(ModelError, match="gpt4: no such folder, and no model of that name"):
        lampc.BootstrapFewShot(metric=always, teacher_settings={"lm": "gpt4"}).compile(
            program(lampc), trainset=rows(lampc)
        )
