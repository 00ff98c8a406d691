"""What users are told: of failing metrics and rows, of calls by callbacks, of answers that cannot be read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dspy
import pytest

import lampc
from lampc.frontend.python.callbacks import BaseCallback
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


class Refusing(lampc.BaseLM):
    """As with a wrong key; `but` is a text that it answers."""

    but = "\0"

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        if self.but not in str(messages):
            raise PermissionError("wrong key")
        text = "[[ ## answer ## ]]\nhi\n\n[[ ## completed ## ]]"
        message = SimpleNamespace(content=text)
        return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage={}, model="m")


def right(example: Any, prediction: Any, trace: Any = None, name: Any = None, steps: Any = None) -> float:
    return float(prediction.answer == example.answer)


FACES: dict[str, Any] = {
    "COPRO": lambda lm: lampc.COPRO(metric=right, breadth=2, depth=1),
    "GEPA": lambda lm: lampc.GEPA(metric=right, max_metric_calls=12, reflection_lm=lm),
    "SIMBA": lambda lm: lampc.SIMBA(metric=right, bsize=4, max_steps=1, num_candidates=2),
    "MIPROv2": lambda lm: lampc.MIPROv2(
        metric=right, auto=None, num_candidates=2, max_bootstrapped_demos=0, max_labeled_demos=0
    ),
}


@pytest.mark.parametrize("name", FACES)
def test_no_optimizer_is_silent_where_every_call_failed(name: str) -> None:
    lm = Refusing("told", cache=False)
    lampc.configure(lm=lm)
    more: dict[str, Any] = {"eval_kwargs": {}} if name == "COPRO" else {}
    more |= {"num_trials": 1, "minibatch": False, "valset": ROWS} if name == "MIPROv2" else {}
    with pytest.raises(OptimizeError, match=r"(every one of|10) .*runs failed.*wrong key"):
        FACES[name](lm).compile(lampc.Predict("question -> answer"), trainset=ROWS, **more)


def test_an_optimizer_warns_of_runs_and_proposals_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    lm = Refusing("told", cache=False)
    lm.but = "q1"  # of twelve rows three
    lampc.configure(lm=lm)
    optimizer = lampc.GEPA(metric=right, max_metric_calls=30, reflection_lm=Refusing("writes", cache=False))
    with caplog.at_level(logging.WARNING, "lampc.runtime"):
        optimizer.compile(lampc.Predict("question -> answer"), trainset=ROWS)
    told = [r.getMessage() for r in caplog.records]
    assert any(t.startswith("9 of 12 runs failed; the first: ") and "wrong key" in t for t in told)
    assert any("proposals failed; the first: " in t and "wrong key" in t for t in told)


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


# -- callbacks --------------------------------------------------------------------------------------------

KINDS = ("module", "adapter_format", "adapter_parse", "lm", "tool", "evaluate")


def plain(value: Any) -> Any:
    """Something that both packages' values can be compared by."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "metric"}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value if isinstance(value, str | int | float | None) else type(value).__name__


def listener(base: type, heard: list[Any]) -> Any:
    """A callback that notes every event."""
    made = type("Listener", (base,), {})

    def note(kind: str) -> None:
        def start(self: Any, call_id: str, instance: Any, inputs: Any) -> None:
            heard.append((kind, "start", type(instance).__name__, plain(inputs)))

        def end(self: Any, call_id: str, outputs: Any, exception: Any = None) -> None:
            heard.append((kind, "end", plain(outputs), exception is None))

        setattr(made, f"on_{kind}_start", start)
        setattr(made, f"on_{kind}_end", end)

    for kind in KINDS:
        note(kind)
    return made()


def events(d: Any, use: Any) -> list[Any]:
    """What callbacks are told of while `use(d, program)` runs."""
    heard: list[Any] = []
    text = "[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\nhi\n\n[[ ## completed ## ]]"
    base = BaseCallback if d is lampc else dspy.utils.callback.BaseCallback
    with d.context(lm=scripted(d, text), callbacks=[listener(base, heard)], adapter=d.ChatAdapter()):

        class Told(d.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.ask = d.ChainOfThought("question -> answer")
                self.add = d.Tool(add)

            def forward(self, question: str) -> Any:
                self.add(a=1)
                return self.ask(question=question)

        use(d, Told())
    return heard


def add(a: int, b: int = 2) -> int:
    return a + b


def call(d: Any, program: Any) -> None:
    program("q")


def batch(d: Any, program: Any) -> None:
    program.batch([d.Example(question="q").with_inputs("question")], num_threads=1, disable_progress_bar=True)


def evaluate(d: Any, program: Any) -> None:
    rows = [d.Example(question="q").with_inputs("question")]
    d.Evaluate(devset=rows, metric=lambda e, p, trace=None: 1.0, num_threads=1)(program)


def by_hand(d: Any, program: Any) -> None:
    signature = d.Signature("question -> answer")
    d.settings.adapter.format(signature, [], {"question": "q"})
    d.settings.adapter.parse(signature, "[[ ## answer ## ]]\nhi")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("use", [call, batch, evaluate, by_hand])
def test_callbacks_are_told_what_dspy_tells(use: Any) -> None:
    ours, theirs = events(lampc, use), events(dspy, use)
    assert len(ours) == {call: 14, batch: 14, evaluate: 16, by_hand: 4}[use]
    assert ours == theirs


def test_callbacks_of_modules_alone_are_told_in_batches_too() -> None:
    heard: list[Any] = []
    lampc.configure(lm=scripted(lampc))
    program = Graph()
    program.ask.callbacks = [listener(BaseCallback, heard)]
    program.forward = lambda question: program.ask(question=question)  # type: ignore[method-assign]
    program.batch(ROWS[:2])
    assert [h[:3] for h in heard if h[:2] == ("module", "start")] == [("module", "start", "Predict")] * 2


def test_listening_changes_no_answer() -> None:
    def run(**options: Any) -> list[Any]:
        with lampc.context(model="firefly", layout="chat", **options):
            ask = lampc.Predict("question -> answer", temperature=1.0)
            return [p.answer for p in ask.batch(ROWS)]

    heard: list[Any] = []
    assert run() == run(callbacks=[listener(BaseCallback, heard)])
    assert len(heard) == 8 * len(ROWS)


def test_an_answer_that_cannot_be_read_says_in_which_adapter_and_for_what() -> None:
    heard: list[Any] = []
    ask = lampc.Predict("question -> answer: int")
    lampc.configure(
        lm=scripted(lampc, "nothing"), callbacks=[listener(BaseCallback, heard)], adapter=lampc.XMLAdapter()
    )
    with pytest.raises(lampc.AdapterParseError) as caught:
        ask(question="q")
    assert (caught.value.adapter_name, caught.value.signature) == ("XMLAdapter", ask.signature)
    assert (caught.value.lm_response, caught.value.parsed_result) == ("nothing", {})
    assert heard[-2:] == [("adapter_parse", "end", None, False), ("module", "end", None, False)]
    lampc.configure(callbacks=[], adapter=None)
    for program in (ask, Numbers()):
        _, _, (error,) = program.batch(ROWS[:1], return_failed_examples=True)
        assert isinstance(error, lampc.AdapterParseError)
        assert (error.adapter_name, error.signature) == ("ChatAdapter", program.predictors()[0].signature)
    with lampc.context(compat="dspy-3.4"), pytest.raises(lampc.AdapterParseError) as caught:
        ask(question="q")
    assert caught.value.adapter_name == "JSONAdapter"  # the adapter that was asked last, as in DSPy


class Numbers(Graph):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer: int")

    def forward(self, question: str) -> Any:
        return self.ask(question=question)


def test_parse_errors_are_made_as_in_dspy() -> None:
    def made(d: Any, error: Any) -> Any:
        signature = d.Signature("question -> answer")
        e = error(adapter_name="Mine", signature=signature, lm_response="x", parsed_result={"a": 1})
        return e.adapter_name, e.signature is signature, e.lm_response, e.parsed_result

    assert made(lampc, lampc.AdapterParseError) == made(dspy, dspy.utils.exceptions.AdapterParseError)
