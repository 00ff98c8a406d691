"""Batches, evaluations and bootstraps do what calls of the same program do, beside DSPy's own."""

from __future__ import annotations

from typing import Any

import pytest
from dspy.dsp.utils import dotdict

import lampc
from lampc.frontend.python import trace
from tests.python.twins import both, ours


def scripted(messages: list[dict[str, str]]) -> dict[str, str]:
    return {"answer": "A", "check": "c"}


def rows(d: Any, *questions: str) -> list[Any]:
    return [d.Example(question=q, answer="A").with_inputs("question") for q in questions]


def test_a_predictor_is_asked_though_nothing_reads_its_answer() -> None:
    steps: list[int] = []

    def program(d: Any) -> Any:
        class Checked(d.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.a = d.Predict("question -> answer")
                self.b = d.Predict("question, answer -> check")

            def forward(self, question: str) -> Any:
                made = self.a(question=question)
                self.b(question=question, answer=made.answer)
                return made

        def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
            steps.append(len(trace or ()))
            return True

        answers = [p.answer for p in Checked().batch(rows(d, "x", "y"), num_threads=1, disable_progress_bar=True)]
        scored = d.Evaluate(devset=rows(d, "v"), metric=d.evaluate.answer_exact_match)(Checked()).score
        optimizer = d.BootstrapFewShot(metric=metric, max_bootstrapped_demos=1, max_labeled_demos=0)
        compiled = optimizer.compile(Checked(), trainset=rows(d, "z"))
        return answers, scored, {n: len(p.demos) for n, p in compiled.named_predictors()}

    a, b = both(program, lambda: scripted)
    assert b[0] == a[0]
    assert sorted(map(str, b[1])) == sorted(map(str, a[1])), "the same calls"
    assert steps == [2, 2]


@pytest.mark.parametrize("wrong", ["made.reason", 'made["reason"]', "self.a(text=question).answer"])
def test_a_line_that_names_what_is_not_there_fails_only_rows_that_reach_it(wrong: str) -> None:
    def program(d: Any) -> Any:
        def forward(self: Any, question: str) -> Any:
            made = self.a(question=question)
            if question == "odd":
                if wrong == "made.reason":
                    return d.Prediction(answer=made.reason)
                return d.Prediction(answer=made["reason"] if "[" in wrong else self.a(text=question).answer)
            return made

        kind = type("Odd", (d.Module,), {"forward": forward})
        made = kind()
        made.a = d.Predict("question -> answer")
        found = made.batch(rows(d, "one", "odd", "two"), num_threads=1, disable_progress_bar=True)
        score = d.Evaluate(devset=rows(d, "one", "odd", "two"), metric=d.evaluate.answer_exact_match)(made).score
        return [p and p.answer for p in found], score

    with ours(lambda m: scripted(m)):
        assert program(lampc) == (["A", None, "A"], 66.67)


def test_a_field_that_no_row_comes_by_may_be_missing() -> None:
    class Guarded(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = lampc.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            made = self.a(question=question)
            return lampc.Prediction(answer=made.reasoning if question == "why" else made.answer)

    with pytest.raises(lampc.ir.CompileError, match="no field `reasoning`"):
        trace(Guarded())
    with ours(lambda m: scripted(m)):
        assert [p.answer for p in Guarded().batch(rows(lampc, "x"))] == ["A"]


def test_classes_of_values_are_seen_by_plain_python() -> None:
    class Kind(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = lampc.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            made = self.a(question=question)
            return lampc.Prediction(
                answer=made.answer, kind=type(question).__name__, doc=made.answer.__class__.__name__
            )

    with ours(lambda m: scripted(m)):
        assert [(p.kind, p.doc) for p in Kind().batch(rows(lampc, "x"))] == [("str", "str")]


def test_what_a_retriever_raises_is_told_and_what_it_finds_is_not_kept() -> None:
    class Down(Exception):
        pass

    def program(d: Any) -> Any:
        found = ["old"]

        def search(query: str, k: int = 1, **_: Any) -> list[Any]:
            if query == "down":
                raise Down("index is down")
            return [dotdict(long_text=text) for text in found]

        class Rag(d.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.look, self.a = d.Retrieve(k=1), d.Predict("context, question -> answer")

            def forward(self, question: str) -> Any:
                try:
                    context = self.look(question).passages
                except Down:
                    context = ["none"]
                return d.Prediction(context=context, answer=self.a(question=question, context=context).answer)

        with d.context(rm=search):
            seen = [Rag()(question=q).context for q in ("x", "down")]
            found[0] = "new"
            seen += [p.context for p in Rag().batch(rows(d, "x", "down"), num_threads=1, disable_progress_bar=True)]
        with d.context(rm=None), pytest.raises(AssertionError, match=r"No RM is loaded|has no store"):
            d.Retrieve(k=1)("x")
        return seen

    a, b = both(program, lambda: scripted)
    assert b[0] == a[0] == [["old"], ["none"], ["new"], ["none"]]


def test_attributes_of_predictions_are_those_that_python_finds() -> None:
    """By `getattr`, and where a method has the name of a field."""

    def program(d: Any) -> Any:
        class Odd(d.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.a = d.Predict("question -> answer, items")

            def forward(self, question: str) -> Any:
                made = self.a(question=question)
                there = [getattr(made, "answer"), getattr(made, "none", "no"), hasattr(made, "answer")]  # noqa: B009
                return d.Prediction(there=there, method=callable(made.items))

        made = Odd()
        graph = d is lampc and trace(made)
        assert not graph or graph.dynamic is not None
        called = made(question="x")
        (batched,) = made.batch(rows(d, "x"), num_threads=1, disable_progress_bar=True)
        assert batched.toDict() == called.toDict()
        return called.toDict()

    a, b = both(program, lambda: lambda messages: {"answer": "A", "items": "abc"})
    assert a[0] == b[0] == {"there": ["A", "no", True], "method": True}


def test_a_tuple_of_a_builtin_is_one_in_a_batch() -> None:
    class Halves(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = lampc.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return lampc.Prediction(pair=divmod(len(self.a(question=question).answer), 2))

    assert trace(Halves()).dynamic is None
    with ours(scripted):
        (batched,) = Halves().batch(rows(lampc, "x"))
    assert batched.pair == (0, 1)


@pytest.mark.parametrize("how", ["set", "number", "more"])
def test_predictions_are_changed_and_ordered_in_batches_as_in_calls(how: str) -> None:
    class Odd(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = lampc.Predict("question -> answer, score: float")

        def forward(self, question: str) -> Any:
            made = self.a(question=question)
            if how == "set":
                setattr(made, "answer", "B")  # noqa: B010
                return made
            return lampc.Prediction(found=float(made) if how == "number" else made > 0.2)

    with ours(lambda messages: {"answer": "A", "score": "0.5"}):
        called = Odd()(question="x")
        (batched,) = Odd().batch(rows(lampc, "x"))
    assert batched.toDict() == called.toDict()
