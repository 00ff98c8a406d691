"""What a user's class does in its own way is done in batches, evaluations and optimizers too."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import lampc
from lampc.frontend.python import trace
from lampc.runtime.optimizers.bootstrap import BootstrapFewShot
from lampc.runtime.scripted import DummyLM
from tests.python.twins import ours

QA = "question -> answer"
ROWS = [lampc.Example(question=q).with_inputs("question") for q in ("one", "two")]


@pytest.fixture(autouse=True)
def model() -> Iterator[None]:
    with ours(lambda messages: {"answer": "model", "reasoning": "so"}, compat=""):
        yield


class Loud(lampc.Predict):
    def forward(self, **inputs: Any) -> Any:
        return lampc.Prediction(answer=super().forward(**inputs).answer.upper())


class Counting(lampc.ChainOfThought):
    def __call__(self, **inputs: Any) -> Any:
        return lampc.Prediction(answer="my " + super().__call__(**inputs).answer)


class Thinking(lampc.ChainOfThought):
    def forward(self, **inputs: Any) -> Any:
        return lampc.Prediction(answer="thought " + super().forward(**inputs).answer)


class Ask(lampc.Module):
    def __init__(self, inner: Any = None) -> None:
        super().__init__()
        self.inner = inner if inner is not None else lampc.Predict(QA)

    def forward(self, question: str) -> Any:
        return lampc.Prediction(answer=self.inner(question=question).answer)


class Called(Ask):
    def __call__(self, **inputs: Any) -> Any:
        return lampc.Prediction(answer=super().__call__(**inputs).answer + "!")


def loud(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = function(self, *args, **kwargs)
        if isinstance(found, str):
            return found.upper()
        return lampc.Prediction(answer=found.answer.upper())

    return wrapped


class Decorated(Ask):
    @loud
    def forward(self, question: str) -> Any:
        return lampc.Prediction(answer=self.inner(question=question).answer)


class Helped(Ask):
    def forward(self, question: str) -> Any:
        return lampc.Prediction(answer=self.helper(self.inner(question=question).answer))

    @loud
    def helper(self, text: str) -> str:
        return text + "?"


class Source(lampc.Retrieve):
    def forward(self, query: str, k: int | None = None) -> lampc.Prediction:
        return lampc.Prediction(passages=["found " + query])


class Bare(Source):
    def __init__(self) -> None:
        """No retriever at all."""


class Sourced(Ask):
    def __init__(self, source: Any) -> None:
        super().__init__()
        self.source = source

    def forward(self, question: str) -> Any:
        return lampc.Prediction(answer=self.source(question).passages[0] + self.inner(question=question).answer)


class Best(lampc.BestOfN):
    def chosen(self, found: list[Any]) -> int | None:
        return len(found) - 1


def patched() -> Any:
    program: Any = Ask()
    program.forward = lambda question: lampc.Prediction(answer="patched " + question)
    return program


def stubbed() -> Any:
    return Ask(lambda question: lampc.Prediction(answer="stub " + question))


def swapped() -> Any:
    program = lampc.ChainOfThought(QA)
    program.predict = Loud(QA)
    return program


def tries(cls: Any, module: Any) -> Any:
    return cls(module, N=2, reward_fn=lambda inputs, made: 1.0, threshold=1.0)


PROGRAMS: dict[str, Callable[[], Any]] = {
    "a predictor's forward": lambda: Loud(QA),
    "a predictor's forward, inside": lambda: Ask(Loud(QA)),
    "a chain of thought's forward": lambda: Thinking(QA),
    "a chain of thought's forward, inside": lambda: Ask(Thinking(QA)),
    "a chain of thought's __call__": lambda: Counting(QA),
    "a chain of thought's __call__, inside": lambda: Ask(Counting(QA)),
    "a chain of thought's predictor": swapped,
    "a chain of thought's predictor, inside": lambda: Ask(swapped()),
    "a module's __call__": Called,
    "a module's __call__, inside": lambda: Ask(Called()),
    "a module's __call__, attempted": lambda: tries(lampc.BestOfN, Called()),
    "a decorated forward": Decorated,
    "a decorated forward, inside": lambda: Ask(Decorated()),
    "a decorated helper": Helped,
    "a patched forward": patched,
    "a patched forward, inside": lambda: Ask(patched()),
    "a stubbed predictor": stubbed,
    "a retriever's forward": lambda: Sourced(Source(k=1)),
    "a retriever's forward without a retriever": lambda: Sourced(Bare()),
    "a method of a library module": lambda: tries(Best, lampc.Predict(QA)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_own_behaviour_holds_in_batches_evaluations_and_optimizers(name: str) -> None:
    wanted = [PROGRAMS[name]()(question=r.question).answer for r in ROWS]
    assert [p.answer for p in PROGRAMS[name]().batch(ROWS)] == wanted
    seen: list[str] = []

    def metric(example: Any, made: Any, trace: Any = None) -> bool:
        seen.append(made.answer)
        return True

    lampc.Evaluate(devset=ROWS, metric=metric)(PROGRAMS[name]())
    assert sorted(seen) == sorted(wanted)
    seen.clear()
    BootstrapFewShot(metric=metric, max_labeled_demos=0).compile(PROGRAMS[name](), trainset=ROWS)
    assert set(seen) == set(wanted)


def test_a_predictor_by_itself_gives_all_its_completions() -> None:
    program = lampc.Predict(QA, n=2)
    assert program(question="one").completions.answer == ["model", "model"]
    assert [p.completions.answer for p in program.batch(ROWS)] == [["model", "model"]] * 2


def test_what_the_library_does_stays_a_graph() -> None:
    class Named(lampc.Predict):
        def __init__(self) -> None:
            super().__init__(QA)

    for program in (Ask(), Ask(lampc.ChainOfThought(QA)), Ask(Named()), tries(lampc.BestOfN, Ask()), Named()):
        assert trace(program).dynamic is None


def test_the_note_names_the_method() -> None:
    note = trace(Ask(Loud(QA))).dynamic
    assert note is not None
    assert "`forward` of `Loud`" in note.message


def test_a_predictor_with_a_model_of_its_own_asks_it_everywhere() -> None:
    for program in (lampc.Predict(QA), lampc.ChainOfThought(QA), Ask()):
        program.set_lm(DummyLM(lambda messages: {"answer": "own", "reasoning": "so"}))
        assert program(question="one").answer == "own"
        assert [p.answer for p in program.batch(ROWS)] == ["own", "own"]
        result = lampc.Evaluate(devset=ROWS, metric=lambda example, made: made.answer == "own")(program)
        assert result.score == 100.0
        assert not result.errors


class Level(enum.Enum):
    HIGH = "high"


def pair(text: str) -> Any:
    return text, 3


def returning(give: Callable[[Any, str], Any]) -> lampc.Module:
    """A module that returns what `give` makes of it and the question."""

    class Returns(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = lampc.Predict(QA)

        forward = give

    return Returns()


def text(self: Any, question: str) -> Any:
    return self.ask(question=question).answer


def two(self: Any, question: str) -> Any:
    return self.ask(question=question).answer, 3


def listed(self: Any, question: str) -> Any:
    return [self.ask(question=question).answer]


def record(self: Any, question: str) -> Any:
    return {"answer": self.ask(question=question).answer}


def as_dict(self: Any, question: str) -> Any:
    return self.ask(question=question).toDict()


def nothing(self: Any, question: str) -> Any:
    self.ask(question=question)


def truth(self: Any, question: str) -> Any:
    return self.ask(question=question).answer == "other"


def empty(self: Any, question: str) -> Any:
    return self.ask(question=question).answer[:0]


def an_object(self: Any, question: str) -> Any:
    return SimpleNamespace(answer=self.ask(question=question).answer)


def an_example(self: Any, question: str) -> Any:
    return lampc.Example(answer=self.ask(question=question).answer)


def nested(self: Any, question: str) -> Any:
    made = self.ask(question=question)
    return lampc.Prediction(answer=made.answer, step=made, steps=[made])


def by_branch(self: Any, question: str) -> Any:
    made = self.ask(question=question)
    if made.answer == "other":
        return lampc.Prediction(answer="x", step=made)
    step = made if question == "one" else lampc.Prediction(answer="y")
    return lampc.Prediction(answer="z", step=step)


def a_pair(self: Any, question: str) -> Any:
    made = self.ask(question=question)
    return lampc.Prediction(pair=(made.answer, question), items=[(made.answer, 1)])


def a_helped_pair(self: Any, question: str) -> Any:
    return lampc.Prediction(pair=pair(self.ask(question=question).answer))


def zipped(self: Any, question: str) -> Any:
    answers = [self.ask(question=q).answer for q in (question, "other")]
    return lampc.Prediction(pairs=list(zip(answers, answers, strict=True)))


def a_member(self: Any, question: str) -> Any:
    return lampc.Prediction(answer=self.ask(question=question).answer, level=Level.HIGH)


def its_text(self: Any, question: str) -> Any:
    made = self.ask(question=question)
    return lampc.Prediction(said=str(made), formatted=f"{made}", shown=f"{made!r}")


def its_draws(self: Any, question: str) -> Any:
    made = self.ask(question=question, config={"n": 2})
    return lampc.Prediction(draws=made.completions.answer, made=made)


def shape(value: Any) -> Any:
    """A value with the classes in it; objects that compare by identity by their fields."""
    if isinstance(value, lampc.Example):
        return type(value).__name__, {k: shape(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [shape(v) for v in value]
    return {k: shape(v) for k, v in value.items()} if isinstance(value, dict) else value


RETURNS = [
    text, two, listed, record, as_dict, nothing, truth, empty, an_object, an_example, nested, by_branch, a_pair,
    a_helped_pair, zipped, a_member, its_text, its_draws,
]  # fmt: skip


@pytest.mark.parametrize("give", RETURNS, ids=lambda f: f.__name__)
def test_batches_and_metrics_get_what_the_program_returns(give: Callable[[Any, str], Any]) -> None:
    wanted = [shape(returning(give)(question=r.question)) for r in ROWS]
    assert [shape(v) for v in returning(give).batch(ROWS)] == wanted
    seen: list[Any] = []

    def metric(example: Any, made: Any, trace: Any = None) -> bool:
        seen.append(shape(made))
        return True

    assert lampc.Evaluate(devset=ROWS, metric=metric)(returning(give)).score == 100.0
    assert seen == wanted


def collected(self: Any, question: str) -> Any:
    notes: list[str] = []
    for _ in range(3):
        made = self.ask(question=question)
        notes.append(made.answer)
        if made.answer == "other":
            break
    return lampc.Prediction(notes=notes, rounds=[{"answer": n, "length": len(n)} for n in notes])


def refused(self: Any, question: str) -> Any:
    made = self.ask(question=question)
    if made.answer == "other":
        raise ValueError("other")
    return made


@pytest.mark.parametrize("give", [collected, refused], ids=lambda f: f.__name__)
def test_predictions_of_plain_values_come_out_of_the_graph(give: Callable[[Any, str], Any]) -> None:
    unit = trace(returning(give))
    assert unit.dynamic is None
    assert unit.exact
    wanted = [shape(returning(give)(question=r.question)) for r in ROWS]
    assert [shape(v) for v in returning(give).batch(ROWS)] == wanted


@pytest.mark.parametrize("give", [text, listed, truth, empty, nested], ids=lambda f: f.__name__)
def test_metrics_of_optimizers_get_plain_values(give: Callable[[Any, str], Any]) -> None:
    seen: list[Any] = []

    def metric(example: Any, made: Any, trace: Any = None) -> bool:
        seen.append(made)
        return True

    made = BootstrapFewShot(metric=metric, max_labeled_demos=0).compile(returning(give), trainset=ROWS)
    assert len(made.ask.demos) == 2
    wanted = returning(give)(question="one")
    assert seen
    assert all(type(s) is type(wanted) for s in seen)
    if give is not nested:
        assert all(s == wanted for s in seen)
