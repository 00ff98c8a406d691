"""Programs that are exported: calls, branches, loops, tools, demos, types, helpers of their own module."""

from __future__ import annotations

import math
import re as regex
from typing import Any, Literal

import lampc

FACTOR = 3
TABLE = {"owl": 1, "cat": 2}


@lampc.tool
def count(text: str) -> int:
    """Words of a text."""
    return _words(text) * FACTOR


def _words(text: str) -> int:
    return len(regex.findall(r"\w+", text))


def root(n: int) -> float:
    return math.sqrt(n) + TABLE.get("cat", 0)


class Triage(lampc.Signature):
    """Say where a message goes."""

    message: str = lampc.InputField(desc="as it came")
    team: Literal["7", "8", "9"] = lampc.OutputField()
    urgent: bool = lampc.OutputField()
    scores: list[int] = lampc.OutputField()
    note: str | None = lampc.OutputField()


class Everything(lampc.Module):
    def __init__(self, layout: str = "chat") -> None:
        super().__init__()
        self.triage = lampc.Predict(Triage, layout=layout)
        self.triage.demos = [
            lampc.Example(
                message="fire «now»\nplease", team="7", urgent=True, scores=[1, 2], note=None, augmented=True
            ),
            lampc.Example(message="thanks", team="9"),
        ]
        self.steps = [lampc.Predict("notes: list[str], question -> query", layout=layout) for _ in range(2)]
        self.answer = lampc.ChainOfThought("notes, question -> answer", layout=layout)

    def forward(self, question: str) -> Any:
        notes: list[str] = []
        for step in self.steps:
            query = step(notes=notes, question=question).query
            notes.append(query)
        found = self.triage(message=question)
        total = 0
        for score in found.scores:
            total = total + score
        if found.urgent and total > 3:
            answer = self.answer(notes=notes, question=question).answer
        elif found.team == "8":
            answer = "team eight"
        else:
            answer = f"{question}: {found.team}"
        size = count(question)
        return lampc.Prediction(
            answer=answer.upper(),
            team=found.team,
            size=size,
            root=root(size),
            notes=[n.strip() for n in notes],
            total=total,
        )


class Looping(lampc.Module):
    """A loop that ends early, over a value that is only known at run time."""

    def __init__(self) -> None:
        super().__init__()
        self.next = lampc.Predict("sofar -> word, done: bool", layout="chat")

    def forward(self, start: str) -> Any:
        text = start
        rounds = 0
        for _ in range(5):
            step = self.next(sofar=text)
            text = text + " " + step.word
            rounds = rounds + 1
            if step.done:
                break
        return lampc.Prediction(text=text, rounds=rounds)


def agent() -> Any:
    return lampc.ReAct("question -> answer: int", tools=[count, root], max_iters=3)
