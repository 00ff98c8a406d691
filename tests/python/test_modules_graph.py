"""Graphs of library modules and of `try`: they give what plain code gives, and ask for all that is ready at once."""

from __future__ import annotations

from typing import Any

import pytest

import lampc
from lampc.frontend.python import trace
from lampc.ir import prog
from lampc.ir.runner import find_runner
from lampc.runtime.types import Row
from tests.python.twins import in_turn, ours


class Ask(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("q -> a")
        self.other = lampc.Predict("q -> b")


class Assigns(Ask):
    def forward(self, q: str) -> Any:
        a, n = "unset", 0
        try:
            word = q.strip()
            a = self.ask(q=word).a
        except Exception:
            n = n + 10
        return lampc.Prediction(a=a, n=n)


class HalfDone(Ask):
    def forward(self, q: str) -> Any:
        n = 0
        try:
            n = 1
            a = self.ask(q=q).a
        except Exception:
            a = "failed"
        return lampc.Prediction(a=a, n=n)


class Returns(Ask):
    def forward(self, q: str) -> Any:
        try:
            return self.ask(q=q)
        except Exception:
            return lampc.Prediction(a="failed: " + q)


class Nested(Ask):
    def forward(self, q: str) -> Any:
        out = []
        for word in q.split():
            try:
                first = self.ask(q=word).a
                try:
                    second = self.other(q=first).b
                except Exception:
                    second = "none"
                out.append(first + second)
            except Exception:
                out.append("skipped")
            else:
                out.append("fine")
        return lampc.Prediction(out=out)


class HandlerAsks(Ask):
    def forward(self, q: str) -> Any:
        try:
            a = self.ask(q=q).a
        except Exception:
            if "soft" in q:
                return lampc.Prediction(a="soft failure")
            a = self.other(q=q).b
        return lampc.Prediction(a=a)


def model(messages: list[dict[str, str]]) -> Any:
    text = messages[-1]["content"].split("\n")[1]
    name = "b" if "`b`" in messages[0]["content"] else "a"
    if ("bad" in text and name == "a") or "worse" in text:
        return "unreadable"
    return {name: text.upper()}


@pytest.mark.parametrize("kind", [Assigns, Returns, Nested, HandlerAsks])
def test_what_fails_in_a_try_is_caught(kind: Any) -> None:
    rows = ["good", "bad", "good bad good", "soft bad", "worse words", "a worse bad"]
    with ours(model):
        wanted = [attempt(kind(), q) for q in rows]
    with ours(model):
        unit = trace(kind())
        assert unit.dynamic is None
        runner: Any = find_runner()
        outcomes = runner.session.run(unit, [Row(str(i), {"q": q}) for i, q in enumerate(rows)])
    assert [o.value for o in outcomes] == wanted


def test_what_may_be_half_done_is_not_followed() -> None:
    unit = trace(HalfDone())
    assert unit.dynamic is not None
    assert "`n` is set in a `try` before its last statement" in unit.dynamic.message


def attempt(module: Any, q: str) -> Any:
    try:
        return module(q=q).toDict()
    except Exception:
        return None


def run(program: Any, script: Any, compat: str = "", **inputs: Any) -> tuple[Any, Any, Any]:
    """(value, unit, batches) of one row through the graph."""
    with ours(script, compat=compat):
        unit = trace(program)
        assert unit.dynamic is None, unit.dynamic.line()
        runner: Any = find_runner()
        (outcome,) = runner.session.run(unit, [Row("0", inputs)])
        batches = lampc.settings.lm.batches
    return outcome.value if outcome.error is None else str(outcome.error), unit, list(batches)


def test_attempts_go_out_together() -> None:
    best = lampc.BestOfN(lampc.ChainOfThought("q -> a"), 4, lambda args, pred: -float(len(pred.a)), 0.0)
    script = in_turn(*({"reasoning": "r", "a": a} for a in ("long", "mid", "x", "yy")))
    value, unit, batches = run(best, script, q="?")
    assert (value["a"], batches) == ("x", [4])
    assert sum(isinstance(op, prog.Predict) for op in unit.module.walk()) == 1


def test_an_attempt_may_fail() -> None:
    best = lampc.BestOfN(lampc.Predict("q -> a"), 3, lambda args, pred: float(pred.a), 10.0)
    assert run(best, in_turn({"a": "x"}, {"a": "2"}, {"a": "1"}), q="?")[0] == {"a": "2"}
    strict = lampc.BestOfN(lampc.Predict("q -> a"), 3, lambda args, pred: float(pred.a), 10.0, fail_count=1)
    assert "too many attempts failed" in run(strict, in_turn({"a": "x"}, {"a": "y"}, {"a": "1"}), q="?")[0]
    assert "every attempt failed" in run(best, in_turn({"a": "x"}, {"a": "y"}, {"a": "z"}), q="?")[0]


def test_parallel_calls_go_out_together() -> None:
    class Both(Ask):
        def forward(self, q: str) -> Any:
            one, two = lampc.Parallel()([(self.ask, {"q": q}), (self.other, {"q": q})])
            return lampc.Prediction(a=one.a, b=two.b)

    assert run(Both(), model, q="x")[::2] == ({"a": "X", "b": "X"}, [2])


def test_an_agent_without_rounds_only_extracts() -> None:
    agent = lampc.ReAct("q -> a", tools=[len], max_iters=0)
    value, _, batches = run(agent, in_turn({"reasoning": "r", "a": "x"}), q="?")
    assert value == {"trajectory": {}, "reasoning": "r", "a": "x"}
    assert batches == [1]


def shout(text: str) -> str:
    if not text:
        raise ValueError("nothing to shout")
    return text.upper()


def test_what_a_tool_raises_is_seen_by_the_agent() -> None:
    steps = [{"text": ""}, {"text": 3}, {"words": "x"}, {"text": "ok"}]
    script = [{"next_thought": "t", "next_tool_name": "shout", "next_tool_args": s} for s in steps]
    script.append({"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}})
    end = {"reasoning": "r", "a": "x"}
    with ours(in_turn(*script, end)):
        plain = lampc.ReAct("q -> a", tools=[shout])(q="?").toDict()
    value, _, _ = run(lampc.ReAct("q -> a", tools=[shout]), in_turn(*script, end), q="?")
    assert value == plain
    seen = [value["trajectory"][f"observation_{i}"] for i in range(5)]
    assert seen[0] == "Execution error in shout: ValueError: nothing to shout"
    assert seen[3:] == ["OK", "Completed."]
    assert all(s.startswith("Execution error in shout: ") for s in seen[1:3])


def test_without_source_a_program_runs_as_plain_code_in_batches() -> None:
    names: dict[str, Any] = {"lampc": lampc, "Ask": Ask}
    code = "class Hidden(Ask):\n    def forward(self, q):\n        return lampc.Prediction(a=self.ask(q=q).a)\n"
    exec(code, names)
    with ours(model):
        unit = trace(names["Hidden"]())
        assert unit.dynamic is not None
        assert unit.dynamic.code == "L0710"
        runner: Any = find_runner()
        outcomes = runner.session.run(unit, [Row(str(i), {"q": f"w{i}"}) for i in range(9)])
        assert [o.value for o in outcomes] == [{"a": f"W{i}"} for i in range(9)]
        assert lampc.settings.lm.batches == [9]


class Twice(lampc.ReAct):
    """A `forward` of its own around that of the library."""

    def forward(self, **inputs: Any) -> Any:
        first = super().forward(**inputs)
        return lampc.Prediction(a="twice " + first.a)


def test_a_subclass_is_traced_by_its_own_forward() -> None:
    done = {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}}
    with ours(in_turn(done, {"reasoning": "r", "a": "x"})):
        unit = trace(Twice("q -> a", tools=[shout]))
        runner: Any = find_runner()
        (outcome,) = runner.session.run(unit, [Row("0", {"q": "?"})])
    assert outcome.value == {"a": "twice x"}


def test_a_subclass_that_cuts_its_own_way_is_plain_code() -> None:
    class Forgetful(lampc.ReAct):
        def truncate_trajectory(self, trajectory: dict[str, Any]) -> dict[str, Any]:
            return {}

    with ours(model):
        assert trace(Forgetful("q -> a", tools=[shout])).dynamic is not None
        assert trace(lampc.ReAct("q -> a", tools=[shout])).dynamic is None
