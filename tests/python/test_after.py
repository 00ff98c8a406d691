"""`after=` outside of traced programs: answers that were kept, copied or pickled, and rows that hold them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import lampc
from lampc.runtime.scripted import DummyLM


class Draft(lampc.Signature):
    """Reply kindly."""

    message: str = lampc.InputField()
    reply: str = lampc.OutputField(max_tokens=6)


class Score(lampc.Signature):
    """Score the reply."""

    aim: str = lampc.InputField()
    score: str = lampc.OutputField(max_tokens=6)


def counted(messages: list[dict[str, str]]) -> dict[str, str]:
    """What was said before, so that a conversation that is lost shows."""
    said = " ".join(m["content"] for m in messages if m["role"] == "assistant")
    if "kindly" in messages[0]["content"] and not said:
        return {"reply": "hello"}
    thought = {"reasoning": "so"} if "reasoning" in messages[0]["content"] + messages[-1]["content"] else {}
    return {**thought, "score": f"after {said}" if said else "alone"}


@pytest.mark.parametrize(
    "kept",
    [copy.copy, copy.deepcopy, lambda d: d.copy(), lambda d: pickle.loads(pickle.dumps(d))],
    ids=["copy", "deepcopy", "method", "pickle"],
)
def test_copies_and_pickles_know_their_call(kept: Callable[[Any], Any]) -> None:
    lm = DummyLM(counted)
    with lampc.context(lm=lm):
        d = lampc.Predict(Draft)(message="good day")
        again = kept(d)
        assert again == d
        score = lampc.Predict(Score)
        assert score(aim="kindness", after=again) == score(aim="kindness", after=d)
    assert lm.prompts[1] == lm.prompts[2]
    assert lm.prompts[1][: len(lm.prompts[0])] == lm.prompts[0]


def test_predictions_that_know_no_call_are_told() -> None:
    with lampc.context(lm=DummyLM(counted)):
        draft, score = lampc.Predict(Draft), lampc.Predict(Score)
        d = draft(message="good day")
        by_batch = draft.batch([{"message": "good day"}])[0]
        for wrong in (d.copy(reply="bye"), lampc.Prediction(reply="hello"), d.completions[0], by_batch):
            with pytest.raises(TypeError, match="does not know its call: give what the call of one predictor returned"):
                score(aim="kindness", after=wrong)


def test_only_the_model_that_answered_goes_on() -> None:
    """The same words as a compiled program's error L0933."""
    draft, score = lampc.Predict(Draft), lampc.Predict(Score)
    with lampc.context(lm=lampc.LM("firefly")):
        d = draft(message="good day")
        kept = pickle.loads(pickle.dumps(d))
        for after in (d, kept):
            with pytest.raises(ValueError, match="where another ended: `Draft` asks `firefly`, and `Score` asks `x`"):
                score(aim="kindness", after=after, lm=lampc.LM("x"))
    with lampc.context(lm=DummyLM(counted)), pytest.raises(ValueError, match="where another ended: `Draft` asks"):
        score(aim="kindness", after=d)
    with lampc.context(lm=DummyLM(counted)), pytest.raises(ValueError, match="`Score`: the layout `two_step` asks"):
        lampc.Predict(Score, layout="two_step")(aim="kindness", after=draft(message="good day"))


class Handing(lampc.Module):
    """Hands over whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.score = lampc.Predict(Score)

    def forward(self, **inputs: Any) -> Any:
        return self.score(**inputs)


@pytest.mark.parametrize("made", [lambda: lampc.Predict(Score), lambda: lampc.ChainOfThought(Score), Handing])
def test_rows_go_on_as_calls_do(made: Callable[[], Any]) -> None:
    with lampc.context(lm=DummyLM(counted)):
        d = lampc.Predict(Draft)(message="where is the pen ?")
        program = made()
        called = program(aim="kindness", after=d)
        alone = program(aim="kindness")
        row = lampc.Example(aim="kindness", after=d).with_inputs("aim", "after")
        together = program.batch([row, {"aim": "kindness"}, {"aim": "kindness", "after": None}])
        assert [t.score for t in together] == [called.score, alone.score, alone.score]
        assert called.score != alone.score
        for known in (row, lampc.Example(aim="kindness", after=d)) if made is not Handing else (row,):
            asked = lampc.Evaluate(devset=[known], metric=lambda g, p: float(p.score == called.score))
            assert asked(program).score == 100.0


def test_a_row_with_what_is_no_answer_fails_as_the_call_does() -> None:
    with lampc.context(lm=DummyLM(counted)), pytest.raises(TypeError, match="what a predictor gave, not str"):
        lampc.Predict(Score).batch([{"aim": "kindness", "after": "hello"}], max_errors=1)
