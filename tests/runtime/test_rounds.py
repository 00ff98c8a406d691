"""Answers that cannot be read are asked for again: once, the same way in every mode, alone, together and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.frontend.python.tracing import trace
from lampc.ir.adapters import adapter
from lampc.ir.adapters.rounds import least_rounds, most_rounds
from lampc.runtime.failures import UnreadableAnswer
from lampc.runtime.interp import interpret
from lampc.runtime.scripted import DummyLM
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Row

GOOD = {
    "chat": "[[ ## n ## ]]\n7\n\n[[ ## completed ## ]]", "json": '{"n": 7}', "xml": "<n>7</n>", "baml": '{"n": 7}',
}  # fmt: skip


def counting(layout: str) -> lampc.Module:
    class Counting(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = lampc.Predict("text -> n: int", layout=layout)

        def forward(self, text: str) -> Any:
            return self.count(text=text).n

    return Counting()


def stubborn(layout: str, good_after: int = 1) -> Callable[[list[dict[str, str]]], str]:
    """Writes nonsense until it has been asked often enough, which it sees by the length of the conversation."""

    def answer(messages: list[dict[str, str]]) -> str:
        asked = sum(m["role"] == "user" for m in messages)
        return GOOD[layout] if asked > good_after else "quite a lot"

    return answer


@pytest.mark.parametrize("layout", GOOD)
def test_the_model_is_shown_what_is_wrong_and_answers_again(layout: str) -> None:
    lm = DummyLM(stubborn(layout))
    with Session(model=lm) as session:
        outcomes = session.run(trace(counting(layout)), [Row("a", {"text": "x"}), Row("b", {"text": "y"})])
    assert [o.value for o in outcomes] == [{"n": 7}] * 2
    assert lm.batches == [2, 2]
    first, second = lm.prompts[0], lm.prompts[2]
    assert second[: len(first)] == first, "the prefix of the first call is shared"
    assert second[-2] == {"role": "assistant", "content": "quite a lot"}
    assert "output `n`" in second[-1]["content"]
    assert [o.usage.calls for o in outcomes] == [2, 2]


@pytest.mark.parametrize(
    "layout", [*GOOD, "two_step", "chat_dspy", "xml_dspy", "json_dspy", "two_step_dspy", "compact", "chat_once"]
)
def test_after_that_the_row_fails_and_keeps_the_raw_text(layout: str) -> None:
    lm = DummyLM(lambda messages: "quite a lot")
    with Session(model=lm) as session:
        (outcome,) = session.run(trace(counting(layout)), [Row("a", {"text": "x"})])
    assert outcome.error is not None
    assert outcome.error.kind == "parse"
    assert outcome.error.text == "quite a lot"
    assert len(lm.calls) == most_rounds(layout)
    assert outcome.usage.calls == most_rounds(layout)


def test_the_compat_layout_asks_again_as_json_as_dspy_does() -> None:
    lm = DummyLM(lambda messages: GOOD["json"] if "JSON object" in messages[-1]["content"] else "quite a lot")
    with Session(model=lm) as session:
        (outcome,) = session.run(trace(counting("chat_dspy")), [Row("a", {"text": "x"})])
    assert outcome.value == {"n": 7}
    wanted = lampc.JSONAdapter().format("text -> n: int", [], {"text": "x"})
    assert lm.prompts[1] == wanted


def test_the_setting_compat_gives_dspys_behaviour() -> None:
    lm = DummyLM(lambda messages: GOOD["json"] if "JSON object" in messages[-1]["content"] else "quite a lot")
    with lampc.context(lm=lm, compat="dspy-3.4"):
        assert lampc.Predict("text -> n: int").layout_in_force() == "chat_dspy"
        assert lampc.XMLAdapter().name == "xml_dspy"
        assert lampc.Predict("text -> n: int")(text="x").n == 7
    assert len(lm.calls) == 2
    assert lampc.Predict("text -> n: int", layout="chat").layout_in_force() == "chat"


def test_two_steps_are_two_calls_and_a_repair_is_a_third() -> None:
    def answer(messages: list[dict[str, str]]) -> str:
        if "[[ ## text ## ]]" not in messages[1]["content"]:
            return "There are seven, I think."
        return GOOD["chat"] if len(messages) > 2 else "[[ ## n ## ]]\nseven"

    lm = DummyLM(answer)
    with Session(model=lm) as session:
        (outcome,) = session.run(trace(counting("two_step")), [Row("a", {"text": "x"})])
    assert outcome.value == {"n": 7}
    assert len(lm.calls) == 3 == most_rounds("two_step") > least_rounds("two_step")
    assert "There are seven, I think." in lm.prompts[1][1]["content"]


def test_the_second_step_may_be_another_models() -> None:
    main, small = DummyLM(lambda messages: "There are seven."), DummyLM(lambda messages: GOOD["chat"], model="small")
    adapter_ = lampc.TwoStepAdapter(small)
    with lampc.context(lm=main, adapter=adapter_):
        assert lampc.Predict("text -> n: int")(text="x").n == 7
        unit = trace(counting(""))
        with Session(model=main) as session:
            (outcome,) = session.run(unit, [Row("a", {"text": "x"})])
    assert outcome.value == {"n": 7}
    assert (len(main.calls), len(small.calls)) == (2, 2)


def test_interpreter_executor_and_eager_code_send_the_same() -> None:
    sent = []
    program = counting("json")
    unit = trace(program)
    for mode in ("executor", "interpreter", "eager"):
        lm = DummyLM(stubborn("json"))
        with Session(model=lm, seed=3) as session:
            if mode == "executor":
                assert unit.dynamic is None
                session.run(unit, [Row("a", {"text": "x"})])
            elif mode == "interpreter":
                interpret(unit.module, {"text": "x"}, runner=session.runner(unit.module), seed=3, row="a")
            else:
                with lampc.context(lm=lm):
                    assert program(text="x") == 7
        sent.append(lm.calls)
    assert sent[0] == sent[1] == sent[2]


def test_a_resumed_run_asks_nothing_again(tmp_path: Path) -> None:
    rows = [Row(str(i), {"text": f"t{i}"}) for i in range(4)]
    lm = DummyLM(stubborn("chat"))
    unit = trace(counting("chat"))
    with Session(model=lm, store=Store(tmp_path / "calls")) as session:
        alone = [session.run(unit, [r])[0].value for r in rows]
        asked = len(lm.calls)
        assert [o.value for o in session.run(unit, rows)] == alone
    assert len(lm.calls) == asked == 8


def test_rounds_of_the_bundled_model_do_not_depend_on_what_runs_beside_them() -> None:
    rows = [Row(str(i), {"text": f"the dog saw {i} red cars"}) for i in range(3)]
    unit = trace(counting("chat"))
    with Session(model="firefly", seed=1) as session:
        together = session.run(unit, rows)
    for row, outcome in zip(rows, together, strict=True):
        with Session(model="firefly", seed=1, prefix_cache=False) as session:
            (alone,) = session.run(unit, [row])
        assert (alone.value, alone.error) == (outcome.value, outcome.error)
        assert outcome.usage.calls == 2 or outcome.value is not None


def test_eager_code_may_catch_the_error_under_dspys_name() -> None:
    lm = DummyLM(lambda messages: "quite a lot")
    with lampc.context(lm=lm), pytest.raises(UnreadableAnswer) as caught:
        lampc.Predict("text -> n: int", layout="chat")(text="x")
    assert caught.value.lm_response == "quite a lot"
    assert "quite a lot" in str(caught.value)


def test_an_adapter_without_fallback_asks_once() -> None:
    assert lampc.ChatAdapter(use_json_adapter_fallback=False).name == "chat_once"
    assert lampc.XMLAdapter(use_json_adapter_fallback=False, compat="dspy-3.4").name == "xml_dspy_once"
    assert most_rounds("chat_once") == 1
    assert lampc.JSONAdapter().name == "json"


def test_no_layout_asks_for_ever() -> None:
    for name in ("chat", "json", "xml", "baml", "two_step", "compact", "json_dspy"):
        assert 1 <= least_rounds(name) <= most_rounds(name) <= 3
        assert adapter(name).name == name
