"""`ReActV2` beside DSPy's own: prompts, turns and results."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.python.twins import both, in_turn, ours

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def search(query: str) -> str:
    """Finds passages."""
    return f"found {query}"


def add(a: int, b: int = 1) -> int:
    return a + b


def turn(thought: str, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"next_thought": thought, "tool_calls": {"tool_calls": [{"name": n, "args": a} for n, a in calls]}}


CASES: dict[str, list[Any]] = {
    "one tool": [turn("look", ("search", {"query": "x"})), turn("done", ("submit", {"answer": "42"}))],
    "two tools at once": [
        turn("both", ("search", {"query": "x"}), ("add", {"a": 2})),
        turn("done", ("submit", {"answer": "42"})),
    ],
    "at once": [turn("done", ("submit", {"answer": "42"}))],
    "an unknown tool": [turn("?", ("nothing", {})), turn("done", ("submit", {"answer": "x"}))],
    "nothing called": [turn("hm"), turn("done", ("submit", {"answer": "x"}))],
    "rounds run out": [
        turn("a", ("add", {"a": 1})),
        turn("b", ("add", {"a": 2})),
        turn("c", ("submit", {"answer": "y"})),
    ],
}


def plain(made: Any) -> Any:
    return {n: v if isinstance(v, str) else v.model_dump(mode="json") for n, v in made.items()}


@pytest.mark.parametrize("case", CASES)
def test_turns_are_dspys(case: str) -> None:
    def program(d: Any) -> Any:
        agent = d.ReActV2(d.Signature("question -> answer", "Find out."), tools=[search, add], max_iters=2)
        return plain(agent(question="What?"))

    (their, their_prompts), (our, our_prompts) = both(program, lambda: in_turn(*CASES[case]))
    assert our == their
    assert our_prompts == their_prompts


def test_a_conversation_goes_on() -> None:
    script = [turn("done", ("submit", {"answer": "a"})), turn("again", ("submit", {"answer": "b"}))]

    def program(d: Any) -> Any:
        agent = d.ReActV2(d.Signature("question -> answer", "Find out."), tools=[search])
        first = agent(question="One?")
        second = agent(question="Two?", history=first.history)
        return plain(second), len(second.history.messages)

    a, b = both(program, lambda: in_turn(*script))
    assert b == a
    assert b[0][1] == 2


def test_what_is_handed_in_stays_as_it_was() -> None:
    with ours(in_turn(turn("done", ("submit", {"answer": "a"})))) as side:
        before = side.d.History(messages=[])
        after = side.d.ReActV2("question -> answer", tools=[])(question="?", history=before).history
    assert (len(before), len(after)) == (0, 1)


def test_errors_of_tools_are_results_and_wrong_outputs_are_errors() -> None:
    def broken() -> None:
        raise ValueError("out of order")

    script = [turn("x", ("broken", {})), turn("y", ("submit", {"wrong": 1})), turn("z", ("submit", {}))]
    with ours(in_turn(*script)) as side, pytest.raises(ValueError, match="what it submitted is wrong"):
        side.d.ReActV2("question -> answer", tools=[broken], max_iters=2)(question="?")
    assert "Execution error in broken: ValueError: out of order" in str(side.prompts[1])


def test_reserved_names_are_refused() -> None:
    with ours(in_turn()) as side:
        with pytest.raises(ValueError, match="outputs may not be called `history`"):
            side.d.ReActV2("q -> history", tools=[])
        with pytest.raises(ValueError, match="inputs may not be called `tools`"):
            side.d.ReActV2("tools -> a", tools=[])
        with pytest.raises(ValueError, match="`submit` is the tool"):
            side.d.ReActV2("q -> a", tools=[side.d.Tool(search, name="submit")])


async def slow(query: str) -> str:
    await asyncio.sleep(0)
    return f"slowly {query}"


def test_async_tools_are_awaited() -> None:
    steps = [{"next_thought": "t", "next_tool_name": "slow", "next_tool_args": {"query": "x"}}]
    steps += [
        {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}},
        {"reasoning": "r", "answer": "a"},
    ]
    with ours(in_turn(*steps)) as side:
        agent = side.d.ReAct("question -> answer", tools=[slow])
        made = asyncio.run(agent.acall(question="?"))
    assert made.trajectory["observation_0"] == "slowly x"


def test_an_optional_input_that_is_not_given_stands_nowhere() -> None:
    def program(d: Any) -> Any:
        p = d.Predict(d.Signature("question, context: Optional[str], note: str | None -> answer", "Answer."))
        return (
            p(question="x").answer,
            p(question="x", context=None).answer,
            p(question="x", context="c", note="n").answer,
        )

    a, b = both(program, lambda: lambda messages: {"answer": "y"})
    assert b == a
