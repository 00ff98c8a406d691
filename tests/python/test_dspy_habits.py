"""Habits of DSPy's users that are no method of anything: what they set, print and pass along."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pydantic
import pytest

import lampc
from lampc.frontend.python.options import sampling_of
from lampc.frontend.python.tracing import trace
from lampc.ir import parse_module
from lampc.ir.runner import set_default_runner
from lampc.runtime.cache import forget_configuration
from lampc.runtime.export.prompts import options_of
from lampc.runtime.models import Answer, ModelError
from tests.python.twins import Script, both, in_turn, ours


class Ask(lampc.Module):
    def __init__(self, signature: type[lampc.Signature]) -> None:
        super().__init__()
        self.ask = lampc.Predict(signature)

    def forward(self, q: str) -> lampc.Prediction:
        return self.ask(q=q)


def test_an_instruction_may_be_set_as_docstring() -> None:
    def program(d: Any) -> list[str]:
        class S(d.Signature):
            """Say it."""

            q: str = d.InputField()
            a: str = d.OutputField()

        class Narrow(S):
            pass

        said = [S.instructions]
        asked = d.Predict(S)
        asked(q="1")
        S.__doc__ = f"Say it in {'German'}.\n    Twice."
        asked(q="2")
        d.ChainOfThought(S)(q="3")
        Ask_ = type("Ask_", (d.Module,), {"forward": lambda self, q: asked(q=q)})
        Ask_().batch([d.Example(q="4").with_inputs("q")])
        return [*said, S.instructions, S.with_instructions("x").instructions, Narrow.instructions]

    def script() -> Script:
        return in_turn(*[{"reasoning": "r", "a": "b"}] * 4)

    their, our = both(program, script)
    assert our == their
    assert "in German" in our[1][3][0]["content"]


def test_a_program_that_ran_sees_the_new_docstring() -> None:
    class S(lampc.Signature):
        """One."""

        q: str = lampc.InputField()
        a: str = lampc.OutputField()

    asked, rows = Ask(S), [lampc.Example(q="1").with_inputs("q")]
    with ours(in_turn({"a": "b"}, {"a": "c"})) as side:
        asked.batch(rows)
        S.__doc__ = "Two."
        asked.batch(rows)
    assert [p[0]["content"].rsplit("\n", 1)[-1].strip() for p in side.prompts] == ["One.", "Two."]


class Recorder(lampc.BaseLM):
    """Keeps the options of each call."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.options: list[dict[str, Any]] = []

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> str:
        self.options.append({k: v for k, v in kwargs.items() if k not in ("temperature", "max_tokens")})
        return "[[ ## reasoning ## ]]\nr\n\n[[ ## a ## ]]\nb"


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    lm = Recorder()
    lampc.configure(lm=lm)
    yield lm
    runner: Any = set_default_runner(None)
    runner.close()


def test_options_that_only_an_endpoint_knows_reach_it(recorder: Recorder) -> None:
    asked = lampc.Predict("q -> a", seed=3, reasoning_effort="low", logprobs=None)
    asked(q="1")
    asked(q="1", config={"seed": 4, "tools": [{"type": "function"}]})
    asked.batch([lampc.Example(q="2").with_inputs("q")])
    lampc.ChainOfThought("q -> a", presence_penalty=0.3)(q="3")
    assert recorder.options == [
        {"reasoning_effort": "low", "seed": 3},
        {"reasoning_effort": "low", "seed": 4, "tools": [{"type": "function"}]},
        {"reasoning_effort": "low", "seed": 3},
        {"presence_penalty": 0.3},
    ]


def test_calls_with_other_options_are_other_calls(recorder: Recorder) -> None:
    class Twice(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = lampc.Predict("q -> a", seed=1), lampc.Predict("q -> a", seed=2)

        def forward(self, q: str) -> lampc.Prediction:
            return lampc.Prediction(a=self.one(q=q).a + self.two(q=q).a)

    module = trace(Twice()).module
    assert str(parse_module(str(module))) == str(module)
    Twice().batch([lampc.Example(q="1").with_inputs("q")])
    assert sorted(o["seed"] for o in recorder.options) == [1, 2]


def test_a_class_of_pydantic_is_the_form_of_answers(recorder: Recorder) -> None:
    class Form(pydantic.BaseModel):
        a: str

    lampc.Predict("q -> a", response_format=Form)(q="1")
    (told,) = recorder.options
    assert told["response_format"]["json_schema"]["schema"]["properties"]["a"]["type"] == "string"


def test_options_that_cannot_be(recorder: Recorder) -> None:
    with pytest.raises(TypeError, match="did you mean `temperature`"):
        lampc.Predict("q -> a", temprature=1)
    with pytest.raises(TypeError, match="`api_key` is no option of a predictor: give it to the LM"):
        lampc.Predict("q -> a", api_key="k")
    with pytest.raises(TypeError, match="`api_base` is no option of a predictor"):
        lampc.Predict("q -> a")(q="1", config={"api_base": "http://127.0.0.1"})
    with pytest.raises(TypeError, match="must be JSON, not object"):
        lampc.Predict("q -> a", seed=object())(q="1")
    with (
        lampc.context(lm=lampc.LM("firefly")),
        pytest.raises(ModelError, match="runs on this machine and has no option 'seed'"),
    ):
        lampc.Predict("q -> a", seed=1)(q="x")


def test_an_exported_program_sends_these_options_too() -> None:
    asked = lampc.Predict("q -> a", seed=1)
    _, sampling = sampling_of(asked.config)
    assert options_of(asked.bound(), sampling)["extra_body"] == {"seed": 1}


def test_state_is_saved_and_loaded_under_dspys_arguments(tmp_path: Path) -> None:
    one, two, path = lampc.Predict("q -> a"), lampc.Predict("q -> a"), tmp_path / "state.json"
    one.demos = [lampc.Example(q="1", a="2")]
    one.save(path, False, None)
    two.load(path, True)
    assert [dict(d) for d in two.demos] == [{"q": "1", "a": "2"}]
    one.save(path, save_program=False, modules_to_serialize=[])
    two.load(path, allow_pickle=False, allow_unsafe_lm_state=False)
    with pytest.raises(ValueError, match="programs are not pickled"):
        one.save(tmp_path / "program", save_program=True)
    (tmp_path / "state.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match="pickles run code"):
        two.load(tmp_path / "state.pkl", allow_pickle=True)


def test_what_is_printed_tells_instructions_and_fields() -> None:
    def program(d: Any) -> list[str]:
        class S(d.Signature):
            """Do "it"."""

            q: list[str] = d.InputField(default=["x"])
            n: dict[str, bool] = d.OutputField(desc="how many")

        class Both(d.Module):
            def __init__(self) -> None:
                super().__init__()
                self.say, self.all = d.ChainOfThought("q -> a"), [d.Predict(S)]

        made = [S, d.Predict(S), d.ChainOfThought("q -> a"), Both()]
        texts = [re.sub(r"(?<=_extra=)(\{.*\})(?=\))", told, repr(m)) for m in made]
        return [*texts, list(S.model_fields)]

    def told(found: re.Match[str]) -> str:
        return repr(sorted(ast.literal_eval(found[1]).items()))

    assert program(lampc) == program(dspy)
    assert repr(lampc.Module()) == "Module()"


def test_inputs_are_given_by_name() -> None:
    with pytest.raises(ValueError, match=r"takes its inputs by name: \(q=\.\.\.\)"):
        lampc.Predict("q -> a")("x")


def test_an_option_of_evaluate_that_is_without_effect() -> None:
    lampc.Evaluate(devset=[], metric=None, return_all_scores=True)


def test_the_cache_in_force_can_be_emptied(recorder: Recorder) -> None:
    lm = recorder.copy(cache=True)
    asked = lampc.Predict("q -> a")
    with lampc.context(lm=lm):
        assert len(lampc.cache) == 0
        asked(q="1")
        asked(q="1")
        assert (len(recorder.options), len(lampc.cache)) == (1, 1)
        lampc.cache.reset_memory_cache()
        asked(q="1")
    assert len(recorder.options) == 2


def test_emptying_memory_leaves_what_is_on_disk(tmp_path: Path) -> None:
    made = lampc.configure_cache(disk_cache_dir=tmp_path)
    try:
        assert lampc.cache is made
        made.put("key", Answer("text"))
        made.reset_memory_cache()
        assert made.get("key").text == "text"
        made.clear()
        assert made.get("key") is None
    finally:
        forget_configuration()
