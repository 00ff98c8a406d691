"""Programs written for DSPy, in its users' style, and one scripted model for both sides."""

from __future__ import annotations

import re
import warnings
from types import SimpleNamespace
from typing import Any, Literal

import dspy

warnings.filterwarnings("ignore", message=r".*BaseLM\.forward.*")


class Classify(dspy.Signature):
    """Say which department a message is for."""

    message: str = dspy.InputField()
    department: Literal["7", "8", "9"] = dspy.OutputField(desc="by number")
    urgency: int = dspy.OutputField(ge=0, le=100)


class Multihop(dspy.Module):
    """A list of predictors, a loop, a branch, a dict of predictors, a Prediction."""

    def __init__(self, hops: int = 2) -> None:
        super().__init__()
        self.hops = hops
        self.ask = [dspy.Predict("question, notes: list[str] -> query") for _ in range(hops)]
        self.tools = {"count": dspy.Predict("text -> words: int")}
        self.answer = dspy.ChainOfThought("notes, question -> answer")

    def forward(self, question: str) -> Any:
        notes: list[str] = []
        for i in range(self.hops):
            query = self.ask[i](question=question, notes=notes).query
            notes.append(query)
        size = self.tools["count"](text=notes[0]).words
        if size > 40:
            found = self.answer(notes=notes, question=question)
        else:
            found = self.answer(notes=notes[:1], question=question)
        return dspy.Prediction(answer=shout(found.answer), size=size)


def shout(text: str) -> str:
    """A plain function of the program's file."""
    return text + "!"


class Base(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict(Classify)

    def forward(self, message: str) -> Any:
        return self.classify(message=message)


class Router(Base):
    """Inheritance, `super().forward`, a nested module, a helper that makes a Prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Multihop(1)

    def forward(self, message: str) -> Any:
        first = super().forward(message)
        second = self.inner(question=message)
        return joined(first, second)


def joined(first: Any, second: Any) -> Any:
    """Makes a Prediction of two others."""
    return dspy.Prediction(department=first.department, urgency=first.urgency, answer=second.answer)


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


def look_up(word: str) -> str:
    """What a word means."""
    return f"{word} is a word"


def agent() -> Any:
    return dspy.ReAct("question -> answer: int", tools=[add, dspy.Tool(look_up)], max_iters=4)


def answered(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Outputs for a prompt of the chat layout: numbers that depend on all of it; an agent's steps come to an end."""
    last = str(messages[-1]["content"])
    wanted = [n for n in re.findall(r"`\[\[ ## (\w+) ## \]\]`", last) if n != "completed"]
    number = sum(ord(c) * (i % 7 + 1) for i, c in enumerate(str(messages))) % 97
    out: dict[str, Any] = dict.fromkeys(wanted, str(number))
    if "next_tool_name" in out:
        step = last.count("[[ ## observation_")
        out["next_tool_name"] = ["add", "look_up", "add", "finish"][step]
        out["next_tool_args"] = ['{"a": 1, "b": 2}', '{"word": "owl"}', '{"a": 3, "b": 4}', "{}"][step]
    if "department" in out:
        out["department"] = str(7 + number % 3)
    return out


def written(outputs: dict[str, Any]) -> str:
    """Outputs as the chat layout has them."""
    return "".join(f"[[ ## {k} ## ]]\n{v}\n\n" for k, v in outputs.items()) + "[[ ## completed ## ]]\n"


def reply(messages: list[dict[str, Any]]) -> str:
    return written(answered(messages))


class Scripted(dspy.BaseLM):  # type: ignore[misc]
    """DSPy's side of the scripted model; `log` are the messages of all calls."""

    def __init__(self) -> None:
        super().__init__("scripted", cache=False)
        self.log: list[list[dict[str, Any]]] = []

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.log.append([{"role": m["role"], "content": m["content"]} for m in messages])
        message = SimpleNamespace(content=reply(messages), tool_calls=None)
        choice = SimpleNamespace(message=message, finish_reason="stop", logprobs=None)
        return SimpleNamespace(choices=[choice], usage={}, model="scripted")
