"""Adapters that users derive: the same messages and answers as under DSPy, and calls that go out together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import lampc
from lampc.frontend.python import trace
from lampc.runtime.scripted import DummyLM
from tests.python.twins import in_turn, ours, theirs


def chat(**outputs: Any) -> str:
    return "\n\n".join(f"[[ ## {n} ## ]]\n{v}" for n, v in outputs.items()) + "\n\n[[ ## completed ## ]]"


def shouting(d: Any) -> Any:
    class Shouting(d.ChatAdapter):  # type: ignore[misc]
        """Other instructions, other requests, another way to read."""

        def format_task_description(self, signature: Any) -> str:
            return f"TASK: {signature.instructions}".upper()

        def user_message_output_requirements(self, signature: Any) -> str:
            return f"Now write {', '.join(signature.output_fields)}."

        def parse(self, signature: Any, completion: str) -> dict[str, Any]:
            found = super().parse(signature, completion)
            return {k: v.upper() if isinstance(v, str) else v for k, v in found.items()}

    return Shouting()


def reordered(d: Any) -> Any:
    class Reordered(d.JSONAdapter):  # type: ignore[misc]
        """The messages of the library, and one more."""

        def format(self, signature: Any, demos: Any, inputs: Any) -> Any:
            made = super().format(signature, demos, inputs)
            assert isinstance(inputs["question"], str)
            return [*made, {"role": "user", "content": f"{len(demos)} demos"}]

    return Reordered()


def parts(d: Any) -> Any:
    class Parts(d.XMLAdapter):  # type: ignore[misc]
        def format_field_description(self, signature: Any) -> str:
            return "fields: " + ", ".join(signature.fields)

        def format_assistant_message_content(
            self, signature: Any, outputs: Any, missing_field_message: Any = None
        ) -> str:
            return "said: " + super().format_assistant_message_content(signature, outputs, missing_field_message)

        def format_user_message_content(self, signature: Any, inputs: Any, *args: Any, **kwargs: Any) -> str:
            return "asked: " + super().format_user_message_content(signature, inputs, *args, **kwargs)

    return Parts()


def bare(d: Any) -> Any:
    class Bare(d.Adapter):  # type: ignore[misc]
        """A format of its own."""

        def format(self, signature: Any, demos: Any, inputs: Any) -> Any:
            return [{"role": "user", "content": f"{signature.instructions} {dict(inputs)['question']} ->"}]

        def parse(self, signature: Any, completion: str) -> dict[str, Any]:
            return {name: completion.strip() for name in signature.output_fields}

    return Bare()


def twice(d: Any) -> Any:
    class Twice(d.ChatAdapter):  # type: ignore[misc]
        """Calls in its own way: other inputs, and a draft before."""

        def __call__(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
            first = super().__call__(lm, lm_kwargs, signature, demos, inputs)
            return super().__call__(lm, lm_kwargs, signature, demos, {**inputs, "question": first[0]["answer"]})

    return Twice()


DEMOS = [{"question": "dq", "answer": "da"}, {"question": "only", "answer": "x", "context": ["c"]}]
ANSWERS: dict[Callable[[Any], Any], list[Any]] = {
    shouting: [chat(answer="a1"), chat(answer="a2")],
    reordered: ['{"answer": "a1"}', '{"answer": "a2"}'],
    parts: ["<answer>a1</answer>", "<answer>a2</answer>"],
    bare: [" a1 ", "a2"],
    twice: [chat(answer="a1"), chat(answer="a2"), chat(answer="a3"), chat(answer="a4")],
}


def run(side: Any, d: Any, make: Callable[[Any], Any], program: Callable[[Any], Any]) -> Any:
    with d.context(adapter=make(d)):
        made = program(d)
    return made, side.prompts


@pytest.mark.parametrize("make", ANSWERS)
def test_messages_and_answers_are_those_under_dspy(make: Callable[[Any], Any]) -> None:
    def program(d: Any) -> Any:
        history = d.History(messages=[{"question": "hq", "context": ["h"], "answer": "ha"}])
        signature = "question, context: list[str], history: dspy.History -> answer"
        if d is lampc:
            signature = signature.replace("dspy.", "lampc.")
        qa = d.Predict(d.Signature(signature, "Answer it."))
        qa.demos = [d.Example(**demo) for demo in DEMOS]
        first = qa(question="q1", context=["one", "two"], history=history).answer
        return (
            first,
            d.ChainOfThought("question -> n: int").predict.signature.instructions,
            qa(question="q2", context=[], history=d.History(messages=[])).answer,
        )

    with theirs(in_turn(*ANSWERS[make])) as side:
        a = run(side, side.d, make, program)
    with ours(in_turn(*ANSWERS[make])) as own:
        b = run(own, own.d, make, program)
    assert b == a


def test_what_it_cannot_read_is_asked_for_as_json_as_under_dspy() -> None:
    def program(d: Any) -> Any:
        return d.Predict("question -> n: int")(question="q").n

    script = ("no marker", '{"n": 7}')
    with theirs(in_turn(*script)) as side:
        a = run(side, side.d, shouting, program)
    with ours(in_turn(*script)) as own:
        b = run(own, own.d, shouting, program)
    assert b[0] == a[0] == 7
    assert b[1] == a[1]


def model(messages: list[dict[str, str]]) -> str:
    return chat(answer="a", reasoning="r", hint="h")


class Chain(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = lampc.Predict("question -> hint")
        self.two = lampc.ChainOfThought("question, hint -> answer")

    def forward(self, question: str) -> lampc.Prediction:
        return self.two(question=question, hint=self.one(question=question).hint)


ROWS = [lampc.Example(question=str(i), answer="A").with_inputs("question") for i in range(6)]


def test_rows_run_as_plain_python_in_common_batches() -> None:
    lm = DummyLM(model)
    with lampc.context(lm=lm, adapter=shouting(lampc)):
        unit = trace(Chain())
        assert unit.dynamic is not None
        assert "adapter `Shouting` writes prompts and reads answers in Python" in unit.dynamic.message
        assert [p.answer for p in Chain().batch(ROWS)] == ["A"] * 6
        assert lm.batches == [6, 6]
        assert (
            lampc.Evaluate(devset=ROWS, metric=lampc.evaluate.answer_exact_match)(
                lampc.Predict("question -> answer")
            ).score
            == 100
        )
        assert lampc.Predict("question -> answer", n=3)(question="x").completions.answer == ["A"] * 3
    assert trace(Chain()).dynamic is None


def test_demos_and_instructions_of_optimizers_reach_it() -> None:
    with lampc.context(lm=DummyLM(model), adapter=shouting(lampc)):
        made = lampc.BootstrapFewShot(metric=lampc.evaluate.answer_exact_match, max_labeled_demos=0).compile(
            lampc.Predict("question -> answer"), trainset=ROWS
        )
        assert [d["answer"] for d in made.demos] == ["A"] * 4
        asked = made(question="new")
        assert asked.answer == "A"
        assert len(made.history[-1]["messages"]) == 2 + 2 * 4
        assert "TASK: GIVEN THE FIELDS" in made.history[-1]["messages"][0]["content"]


def test_a_model_on_this_machine_is_asked_too() -> None:
    with lampc.context(lm=lampc.LM("firefly", max_tokens=4), adapter=bare(lampc)):
        alone = [lampc.Predict("question -> answer")(question=e.question).answer for e in ROWS[:3]]
        assert [p.answer for p in lampc.Predict("question -> answer").batch(ROWS[:3])] == alone


def test_callbacks_hear_of_it() -> None:
    told: list[Any] = []

    class Hears(lampc.utils.BaseCallback):
        def on_adapter_format_end(self, call_id: str, outputs: Any, exception: Any) -> None:
            told.append(len(outputs))

        def on_adapter_parse_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            told.append(inputs["completion"])

    with lampc.context(lm=DummyLM(lambda m: "x"), adapter=bare(lampc), callbacks=[Hears()]):
        lampc.Predict("question -> answer")(question="q")
    assert told == [1, "x"]


def test_an_adapter_called_by_itself() -> None:
    with lampc.context(lm=DummyLM(lambda m: chat(n=3))):
        lm, signature = lampc.settings.lm, lampc.Signature("q -> n: int")
        assert lampc.ChatAdapter()(lm, {}, signature=signature, demos=[], inputs={"q": "x"}) == [{"n": 3}]


def test_what_nothing_would_call_is_refused() -> None:
    class Mine(lampc.ChatAdapter):
        def format_field_with_value(self, fields_with_values: Any) -> str:
            return ""

    with pytest.raises(TypeError, match=r"`Mine` changes `format_field_with_value`, which nothing calls here"):
        lampc.configure(adapter=Mine())

    class Half(lampc.Adapter):
        def format(self, signature: Any, demos: Any = None, inputs: Any = None) -> list[dict[str, Any]]:
            return [{"role": "user", "content": "x"}]

    with lampc.context(lm=DummyLM(lambda m: "x"), adapter=Half()), pytest.raises(NotImplementedError, match="Half"):
        lampc.Predict("q -> a")(q="x")
