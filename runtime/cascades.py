"""Predictors that ask a cheap model first: the *proxy*, whose answer stands if it was sure enough of it.

How sure is the probability that it gave to all tokens of its answer. Which threshold keeps what is promised of the
answers is found by the optimizer `cascade` (`lampc.passes.optimize.cascade`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lampc.ir.adapters import Bound, ParseFailure, adapter

if TYPE_CHECKING:
    from lampc.runtime.models import Answer


class Scored(str):
    """Text that a proxy wrote, with its log-probability in nats."""

    __slots__ = ("score",)
    score: float

    def __new__(cls, text: str, score: float) -> Scored:
        made = super().__new__(cls, text)
        made.score = score
        return made


def score_of(text: str) -> float | None:
    """The score of a proxy's text; None for other text."""
    return text.score if isinstance(text, Scored) else None


def proxy_of(bound: Bound) -> Bound:
    """The predictor as its proxy answers it."""
    assert bound.cascade is not None
    return bound.asking(bound.cascade.proxy)


def proxy_node(name: str) -> str:
    """What usage and events call a predictor's calls of its proxy."""
    return f"{name}/proxy"


def stands(bound: Bound, answer: Answer) -> bool:
    """Whether a proxy's answer stands: it can be read, and is likely enough."""
    assert bound.cascade is not None
    if answer.error or math.exp(min(answer.score, 0.0)) < bound.cascade.threshold:
        return False
    try:
        adapter(bound.layout).parse(bound.signature, answer.text)
    except ParseFailure:
        return False
    return True


__all__ = ["Scored", "proxy_node", "proxy_of", "score_of", "stands"]
