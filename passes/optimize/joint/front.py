"""The Pareto front of score against tokens: what nothing beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from lampc.ir import Assignment
from lampc.passes.optimize.protocol import Candidate

P = TypeVar("P", bound="Point")


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate's score (0 to 100) and the mean tokens of a row."""

    assignment: Assignment
    score: float
    tokens: float


def front(points: Sequence[P]) -> list[P]:
    """Those that no other has a higher score than for as many tokens or fewer, nor fewer tokens for the same score;
    by tokens, the fewest first. Of equals the first stands for all."""
    out: list[P] = []
    for p in sorted(points, key=lambda p: (p.tokens, -p.score)):
        if not out or p.score > out[-1].score:
            out.append(p)
    return out


def front_of(history: Sequence[Candidate], rows: int) -> list[Point]:
    """The front of what a history has measured on at least so many rows."""
    measured = [
        Point(c.assignment, c.score, c.tokens)
        for c in history
        if c.score is not None and c.tokens is not None and c.rows >= rows
    ]
    return front(measured)
