"""`from_dspy`: the same prompts and answers as under the real DSPy with the same scripted model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.frontend.python.tracing import trace
from lampc.runtime.configure import default_runner
from lampc.runtime.interop.modules import NotDSPy

dspy = pytest.importorskip("dspy")
from tests.runtime import dspy_programs as programs  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    lampc.settings.reset()
    yield
    lampc.settings.reset()
    default_runner().close()
    lampc.configure(cache=None, compat="")


class Both:
    """One program on both sides: what was asked, and what came out."""

    def __init__(self) -> None:
        self.theirs, self.log = programs.Scripted(), []

        def answer(messages: list[dict[str, Any]]) -> str:
            self.log.append(messages)
            return programs.reply(messages)

        lampc.configure(lm=lampc.LM("scripted", engine=answer, cache=False), compat="dspy-3.4")

    def run(self, program: Any, **inputs: Any) -> tuple[Any, Any, Any]:
        """(their result, ours, our module); the prompts must be equal, one by one."""
        with dspy.context(lm=self.theirs):
            expected = program(**inputs)
        lowered = lampc.from_dspy(program)
        found = lowered(**inputs)
        assert self.log == self.theirs.log
        return expected, found, lowered

    def traced(self, lowered: Any, **inputs: Any) -> dict[str, Any]:
        """The same run as a graph, all prompts among those known."""
        before = list(self.log)
        self.log.clear()
        (found,) = lowered.batch([inputs])
        assert sorted(map(str, self.log)) == sorted(map(str, before))
        return dict(found.items())


def calls(unit: Any) -> int:
    return str(unit.module).count("prog.predict(")


def compiled() -> Any:
    program = programs.Multihop()
    rows = [
        dspy.Example(question=f"q{i}", notes=[f"n{i}"], query=f"w{i}", reasoning="r", answer=f"a{i}", text="t", words=i)
        for i in range(6)
    ]
    rows = [r.with_inputs("question") for r in rows]
    made = dspy.LabeledFewShot(k=3).compile(program, trainset=rows)
    made.answer.predict.signature = made.answer.predict.signature.with_instructions("Answer\n\nin one word.")
    return made


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], int]] = {
    "predict": (lambda: dspy.Predict("question -> answer"), {"question": "why?"}, 1),
    "typed": (lambda: dspy.Predict(programs.Classify), {"message": "help"}, 1),
    "chain": (lambda: dspy.ChainOfThought("a: int, b: float -> c: list[int]".replace("list[int]", "int")),
              {"a": 1, "b": 2.5}, 1),
    "multihop": (programs.Multihop, {"question": "who?"}, 5),
    "compiled": (compiled, {"question": "who?"}, 5),
    "router": (programs.Router, {"message": "fire"}, 0),  # `super` is not traced: the row runs as plain code
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_same_prompts_and_answers(name: str) -> None:
    make, inputs, asks = CASES[name]
    both = Both()
    expected, found, lowered = both.run(make(), **inputs)
    assert found.toDict() == expected.toDict()
    unit = trace(lowered)
    assert (unit.dynamic is None) == (asks > 0)
    assert calls(unit) == asks
    assert both.traced(lowered, **inputs) == expected.toDict()


def test_an_agent_with_tools() -> None:
    both = Both()
    expected, found, lowered = both.run(programs.agent(), question="what?")
    assert found.toDict() == expected.toDict()
    names = [v for k, v in found.trajectory.items() if k.startswith("tool_name")]
    assert names == ["add", "look_up", "add", "finish"]
    assert both.traced(lowered, question="what?")["answer"] == expected.answer


def test_programs_bootstrapped_by_dspy_itself() -> None:
    rows = [dspy.Example(question=f"q{i}", answer="x").with_inputs("question") for i in range(4)]
    optimizer = dspy.BootstrapFewShot(metric=lambda *_: True, max_bootstrapped_demos=2, max_labeled_demos=1)
    both = Both()
    with dspy.context(lm=programs.Scripted()):
        made = optimizer.compile(programs.Multihop(), trainset=rows)
    assert made.answer.predict.demos[0]["augmented"]
    expected, found, lowered = both.run(made, question="who?")
    assert found.toDict() == expected.toDict()
    assert lowered._compiled


def test_best_of_n_asks_the_same() -> None:
    def short(args: Any, pred: Any) -> float:
        return 1.0 - int(pred.answer) / 100

    both = Both()
    program = dspy.BestOfN(dspy.Predict("question -> answer"), N=2, reward_fn=short, threshold=2.0)
    expected, found, _ = both.run(program, question="x")
    assert found.answer == expected.answer


def test_a_module_of_its_own_stays_as_it_is() -> None:
    program = programs.Router()
    before = program.dump_state()
    lowered = lampc.from_dspy(program)
    lowered.classify.demos.append(lampc.Example(message="m", department="7", urgency=1))
    lowered.inner.answer.predict.signature = lowered.inner.answer.predict.signature.with_instructions("other")
    assert program.dump_state() == before
    assert [n for n, _ in lowered.named_predictors()] == [n for n, _ in program.named_predictors()]


def test_shared_predictors_stay_shared() -> None:
    class Twice(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a = dspy.Predict("x -> y")
            self.b = self.a

        def forward(self, x: str) -> Any:
            return self.b(x=self.a(x=x).y)

    lowered = lampc.from_dspy(Twice())
    assert lowered.a is lowered.b


def test_a_predictor_s_own_model_comes_along() -> None:
    own = programs.Scripted()
    program = dspy.Predict("question -> answer")
    program.lm = own
    lampc.configure(lm=lambda messages: "[[ ## answer ## ]]\nwrong")
    with dspy.context(lm=programs.Scripted()):
        expected = program(question="x").answer
    own.log.clear()
    assert lampc.from_dspy(program)(question="x").answer == expected
    assert len(own.log) == 1


def test_layout_follows_dspys_adapter() -> None:
    with dspy.context(adapter=dspy.JSONAdapter()):
        assert lampc.from_dspy(dspy.Predict("a -> b")).layout == "json"
    assert lampc.from_dspy(dspy.Predict("a -> b")).layout == "chat"
    assert lampc.from_dspy(dspy.Predict("a -> b"), layout="xml").layout == "xml"


def test_what_cannot_be_lowered_is_named() -> None:
    with pytest.raises(NotDSPy, match="int is no DSPy module"):
        lampc.from_dspy(3)
    flex = dspy.Flex("a -> b")
    with pytest.raises(NotDSPy, match=r"dspy\.Flex has no counterpart"):
        lampc.from_dspy(flex)


# -- saved state ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [compiled, programs.Router])
def test_dspys_files_are_read_and_ours_are_read_by_dspy(make: Callable[[], Any], tmp_path: Path) -> None:
    theirs = make()
    theirs.save(str(tmp_path / "theirs.json"))
    ours = lampc.from_dspy(type(theirs)())
    ours.load(tmp_path / "theirs.json")
    ours.save(tmp_path / "ours.json")
    again = type(theirs)()
    again.load(str(tmp_path / "ours.json"))

    def learnt(path: str) -> Any:
        state = json.loads((tmp_path / path).read_text())
        state.pop("metadata")
        return state

    assert learnt("ours.json") == learnt("theirs.json")
    assert again.dump_state() == theirs.dump_state()
    both = Both()
    inputs = {"message": "x"} if isinstance(theirs, programs.Router) else {"question": "x"}
    expected, found, _ = both.run(again, **inputs)
    assert found.toDict() == expected.toDict()
    both.log.clear()
    assert ours(**inputs).toDict() == expected.toDict()
    assert both.log == both.theirs.log
