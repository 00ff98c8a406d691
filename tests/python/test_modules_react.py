"""`ReAct` beside DSPy's own: instructions, trajectories, results."""

from __future__ import annotations

from typing import Any

import pytest

from tests.python.twins import both, in_turn


def search(query: str) -> str:
    """Finds passages."""
    return f"found {query}"


def add(a: int, b: int = 1) -> int:
    return a + b


def listing(n: int) -> list[str]:
    """Gives a list,
    in two lines."""
    return [f"item {i}" for i in range(n)]


def lengths(query: str) -> dict[str, Any]:
    return {query: len(query), "none": None}


def step(thought: str, tool: str, **args: Any) -> dict[str, Any]:
    return {"next_thought": thought, "next_tool_name": tool, "next_tool_args": args}


DONE = step("done", "finish")
ANSWER = {"reasoning": "so", "answer": "42"}
REACT: dict[str, list[Any]] = {
    "one tool": [step("look", "search", query="x"), DONE, ANSWER],
    "all tools": [
        step("a", "search", query="x"),
        step("b", "add", a=2),
        step("c", "listing", n=2),
        step("d", "listing", n=0),
        step("e", "lengths", query="multi\nline «x»"),
        DONE,
        ANSWER,
    ],
    "at once": [DONE, ANSWER],
    "rounds run out": [step(f"t{i}", "add", a=i) for i in range(4)] + [ANSWER],
}


@pytest.mark.parametrize("case", REACT)
def test_react(case: str) -> None:
    def program(d: Any) -> Any:
        agent = d.ReAct("question, context: list[str] -> answer: int", [search, d.Tool(add), listing, lengths])
        made = agent(question="q", context=["one", "two"], max_iters=4 if case == "rounds run out" else 10)
        return made.toDict(), [n for n, _ in agent.named_predictors()]

    a, b = both(program, lambda: in_turn(*REACT[case]))
    assert b == a


def test_react_with_instructions_and_no_output_but_text() -> None:
    def program(d: Any) -> Any:
        sig = d.Signature("question -> answer", "Find out.\n\nBe brief.")
        return d.ReAct(sig, tools=[search], max_iters=1)(question="q").toDict()

    a, b = both(program, lambda: in_turn(step("x", "search", query="y"), ANSWER | {"answer": "z"}))
    assert b == a
