"""KNNFewShot: DSPy's prompts, bootstraps of all calls at once, each neighbourhood once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import dspy
import numpy as np
import pytest

import lampc
from lampc.passes.optimize import OptimizeError
from tests.python.scripted import asked, chance, configured, scripted

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")
LIBRARIES = pytest.mark.parametrize("d", [lampc, dspy], ids=["lampc", "dspy"])


def vectors(texts: list[str]) -> Any:
    """Letters counted."""
    return np.array([[t.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], dtype=np.float32)


def rows(d: Any) -> list[Any]:
    words = ["banana", "cabbage", "zebra", "dog", "egg", "fig", "grape", "hat", "igloo", "jazz", "kiwi", "lemon"]
    return [d.Example(question=w, answer=w[0]).with_inputs("question") for w in words]


def reply(messages: list[dict[str, str]], options: dict[str, Any]) -> dict[str, str]:
    """The first letter, mostly; what is asked twice at a temperature is answered otherwise."""
    word = asked(messages, "question")
    right = chance(word, options.get("temperature")) < 0.7
    return {"answer": word[0] if right else "?"}


def program(d: Any) -> Any:
    class Asks(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ask = d.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.ask(question=question)

    return Asks()


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    assert trace is None or len(trace) == 1
    return bool(example.answer == prediction.answer)


OPTIONS = [
    {},
    {"metric": right},
    {"metric": right, "max_bootstrapped_demos": 2, "max_labeled_demos": 3},
    {"metric": right, "max_labeled_demos": 0},
    {"metric": right, "max_rounds": 2, "max_labeled_demos": 5},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_calls_are_those_of_dspy(options: dict[str, Any]) -> None:
    found = []
    for d in (lampc, dspy):
        lm = scripted(d, reply)
        with configured(d, lm):
            made = d.KNNFewShot(4, rows(d), d.Embedder(vectors), **options).compile(program(d))
            answers = [made(question=q).answer for q in ("cab", "zoo", "figure")]
        found.append((answers, sorted(repr((m, o.get("temperature"))) for m, o in lm.calls)))
    assert found[0] == found[1]  # in another order: here all first attempts go out before the second ones


def test_a_teacher_runs_the_bootstraps() -> None:
    found = []
    for d in (lampc, dspy):
        lm, big = scripted(d, reply), scripted(d, lambda m, o: {"answer": asked(m, "question")[0]}, "big")
        teacher = program(d)
        teacher.ask.demos = [d.Example(question="own", answer="o")]
        teacher._compiled = True
        with configured(d, lm):
            made = d.KNNFewShot(3, rows(d), d.Embedder(vectors), metric=right, teacher_settings={"lm": big}).compile(
                program(d), teacher=teacher
            )
            made(question="cab")
        assert len(lm.calls) == 1
        found.append([m for m, _ in big.calls] + [m for m, _ in lm.calls])
    assert found[0] == found[1]
    assert len(found[0]) == 4


def test_each_neighbourhood_is_bootstrapped_once() -> None:
    """Calls of one batch too: those that come while it is under way wait for it."""
    lm = scripted(lampc, reply)
    words = ["cab", "cabbage", "zoo", "cab", "zoo", "oz"]
    with configured(lampc, lm):
        made = lampc.KNNFewShot(3, rows(lampc), lampc.Embedder(vectors), max_labeled_demos=0).compile(program(lampc))
        answers = made.batch([{"question": w} for w in words])
        n = len(lm.calls)
        asked_for = Counter(asked(m, "question") for m, _ in lm.calls)
        alone = [made(question=w).answer for w in words]
        assert len(lm.calls) - n == len(words)
        fresh = lampc.KNNFewShot(3, rows(lampc), lampc.Embedder(vectors), max_labeled_demos=0).compile(program(lampc))
        many = asyncio.run(_all(fresh, words))
    knn = lampc.KNN(3, rows(lampc), vectors)
    near = {tuple(e.question for e in knn(question=w)) for w in words}
    assert [a.answer for a in answers] == alone == [a.answer for a in many]
    assert n == len(words) + 3 * len(near)
    assert sum(asked_for.values()) == n
    assert len(lm.calls) - n == len(words) + n


async def _all(made: Any, words: list[str]) -> list[Any]:
    return await asyncio.gather(*(made.acall(question=w) for w in words))


def test_all_calls_bootstrap_together() -> None:
    lm = scripted(lampc, reply)
    with configured(lampc, lm):
        made = lampc.KNNFewShot(3, rows(lampc), lampc.Embedder(vectors), max_labeled_demos=0).compile(program(lampc))
        devset = [lampc.Example(question=w, answer=w[0]).with_inputs("question") for w in ("cab", "zoo", "hat")]
        result = lampc.Evaluate(devset=devset, metric=right)(made)
    questions = [asked(m, "question") for m, _ in lm.calls]
    assert len(questions) == 12
    assert questions[9:] == ["cab", "zoo", "hat"]  # nine runs of three bootstraps first
    assert result.score == pytest.approx(100 * sum(reply(m, o)["answer"] == w[0] for (m, o), w in zip(
        lm.calls[9:], ("cab", "zoo", "hat"), strict=True)) / 3, abs=0.01)  # fmt: skip


def test_the_compiled_program_is_of_the_students_class_with_its_predictors() -> None:
    with configured(lampc, scripted(lampc, reply)):
        student = program(lampc)
        student.ask.demos = [lampc.Example(question="x", answer="y")]
        made = lampc.KNNFewShot(2, rows(lampc), lampc.Embedder(vectors)).compile(student)
        assert type(made) is type(student)
        assert [n for n, _ in made.named_predictors()] == ["ask"]
        assert (len(student.ask.demos), made.ask.demos) == (1, [])
        copied = made.deepcopy()
        assert copied(question="cab").answer == made(question="cab").answer


@LIBRARIES
def test_runs_that_fail_are_no_demos(d: Any) -> None:
    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        if example.question in ("cabbage", "banana"):
            raise RuntimeError("no")
        return True

    lm = scripted(d, reply)
    with configured(d, lm):
        made = d.KNNFewShot(3, rows(d), d.Embedder(vectors), metric=metric, max_labeled_demos=0).compile(program(d))
        made(question="cab")
        assert len(lm.calls[-1][0]) == 2 + 2  # system, one demo, the question
        failing = d.KNNFewShot(3, rows(d), d.Embedder(vectors), metric=metric, max_errors=2).compile(program(d))
        with pytest.raises(OptimizeError if d is lampc else RuntimeError, match="no"):
            failing(question="cab")
        with pytest.raises(OptimizeError if d is lampc else RuntimeError, match="no"):
            failing(question="cab")


def test_what_cannot_be_is_refused_before_any_call() -> None:
    with pytest.raises(TypeError, match="max_demos"):
        lampc.KNNFewShot(2, rows(lampc), vectors, max_demos=3)
    with pytest.raises(OptimizeError, match="not in both"):
        lampc.KNNFewShot(2, rows(lampc), vectors).compile(program(lampc), teacher=lampc.Predict("question -> answer"))
