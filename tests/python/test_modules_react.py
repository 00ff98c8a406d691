"""`ReAct` beside DSPy's own: instructions, trajectories, results."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import dspy
import numpy
import pydantic
import pytest

import lampc
from tests.python.twins import both, in_turn, ours, theirs


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


class Weather(pydantic.BaseModel):
    temp: int


RETURNED: dict[str, Any] = {
    "a model": lambda: Weather(temp=3),
    "models": lambda: [Weather(temp=3), {"of": 1}, (1, 2)],
    "a date": lambda: datetime.date(2020, 1, 2),
    "a decimal": lambda: decimal.Decimal("1.5"),
    "a set": lambda: {1},
    "a tuple": lambda: (1, "a"),
    "bytes": lambda: b"x",
    "an object": lambda: Ellipsis,
    "numbers of numpy": lambda: {"a": numpy.int64(3)},
    "an array": lambda: numpy.array([1, 2]),
    "no number": lambda: float("nan"),
}


@pytest.mark.parametrize("kind", RETURNED)
def test_what_a_tool_returns_is_an_observation_whatever_it_is(kind: str) -> None:
    def look() -> Any:
        """Looks."""
        return RETURNED[kind]()

    def program(d: Any) -> Any:
        agent = d.ReAct("question -> answer", [look])
        alone = agent(question="q").trajectory["observation_0"]
        rows = agent.batch([d.Example(question="q").with_inputs("question")])
        return repr(alone), repr(rows[0].trajectory["observation_0"])

    answers = (step("t", "look"), DONE, ANSWER)
    a, b = both(program, lambda: in_turn(*answers, *answers))
    assert b == a


def test_a_tool_says_what_it_returns_or_its_agent_is_plain_python_in_batches() -> None:
    agents = [lampc.ReAct("question -> answer", [tool]) for tool in (search, lambda: Weather(temp=3))]
    assert [lampc.trace(a).dynamic for a in agents] == [None, None], "graphs, for all who see values as JSON"
    assert [lampc.trace(a).exact for a in agents] == [True, False]


class Cut:
    """A model whose context holds so many characters of messages."""

    def __init__(self, error: type[Exception], limit: int, answers: list[Any]) -> None:
        self.error, self.limit, self.rest = error, limit, iter(answers)

    def __call__(self, messages: list[dict[str, str]]) -> Any:
        if len(messages[-1]["content"]) > self.limit:
            raise self.error(message="too long")
        return next(self.rest)


@pytest.mark.parametrize("limit", [10_000, 1_200, 950])
def test_the_oldest_rounds_go_where_the_context_ends(limit: int) -> None:
    """The extraction sees the whole trajectory again, as in DSPy, so it may fail where the rounds did not."""
    answers = [step(f"thought {i} " + "x" * 100, "search", query="y" * 60) for i in range(4)] + [DONE, ANSWER]

    def program(d: Any) -> Any:
        agent = d.ReAct(d.Signature("question -> answer", "Find out."), tools=[search], max_iters=5)
        try:
            return agent(question="q").toDict()
        except d.ContextWindowExceededError:
            return "too long"

    with theirs(Cut(dspy.ContextWindowExceededError, limit, answers)) as side:
        wanted = program(side.d)
    with ours(Cut(lampc.ContextWindowExceededError, limit, answers)) as own:
        assert program(own.d) == wanted
    fitting = [p for p in side.prompts if len(p[-1]["content"]) <= limit]
    assert own.prompts == fitting


def test_a_trajectory_may_be_cut_in_ones_own_way() -> None:
    class Forgetful(lampc.ReAct):
        def truncate_trajectory(self, trajectory: dict[str, Any]) -> dict[str, Any]:
            return {"note": "something was forgotten"}

    answers = [step("x" * 300, "search", query="y"), DONE, ANSWER]
    with ours(Cut(lampc.ContextWindowExceededError, 700, answers)) as own:
        made = Forgetful("question -> answer", tools=[search])(question="q")
    assert made.answer == "42"
    assert all("x" * 300 not in p[-1]["content"] for p in own.prompts)
