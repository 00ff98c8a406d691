"""Whether guesses are what is drawn: one after the other, each as if its request had come there by single steps.

The draws of a request depend on logits, key, place and what stands before alone. So a guess is right exactly if it is
the token that is drawn at its place, at any temperature, and what is written does not depend on what was guessed.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from lampc.backend.job import Drawn
from lampc.backend.plan import Plan, Want
from lampc.backend.speculation.drafts import Draft

Found = Sequence[Drawn | int]


def verify_likeliest(plan: Plan, tokens: list[int]) -> list[int]:
    """Of the likeliest tokens of all rows that are wanted, those of drafts last: those of the wants. What the drafts
    come to is noted in them."""
    at = len(tokens) - sum(len(draft.tokens) for draft in plan.drafts)
    firsts, rest = tokens[:at], iter(tokens[at:])
    for draft in plan.drafts:
        token, right = firsts[draft.job.lane.at], True  # type: ignore[union-attr]  # it has one
        for guess, after in zip(draft.tokens, islice(rest, len(draft.tokens)), strict=True):
            right = right and token == guess
            if right:
                draft.found.append(after)
            token = after
    return firsts


def verify(plan: Plan, logits: Any, firsts: Found, resolve: Callable[[Sequence[Want], Any], Found]) -> None:
    """Notes in the plan's drafts what they come to. `logits` are those of their rows, one draft after the other;
    `firsts` were drawn for the plan's wants; `resolve` draws for wants from logits, a row for each."""
    walks, at = [], 0
    try:
        alive = []
        for draft in plan.drafts:
            walks.append(walk := _Walk(draft, at))
            first = firsts[draft.job.lane.at]  # type: ignore[union-attr]  # it has one
            if walk.goes_on(first):
                alive.append(walk)
            at += len(draft.tokens)
        while alive:
            found = resolve([walk.want() for walk in alive], logits[[walk.row for walk in alive]])
            for walk, one in zip(alive, found, strict=True):
                walk.draft.found.append(one)
            alive = [walk for walk, one in zip(alive, found, strict=True) if walk.goes_on(one)]
    finally:
        for walk in walks:
            walk.back()


class _Walk:
    """A request as it would be if the first guesses had been drawn."""

    def __init__(self, draft: Draft, row: int) -> None:
        self.draft = draft
        self._first = row
        self._right = 0
        self._pushed = self._advanced = 0

    @property
    def row(self) -> int:
        """The row after the last guess that was right."""
        return self._first + self._right - 1

    def want(self) -> Want:
        """What is drawn from it."""
        return Want(self.draft.job, self.draft.start + self._right - 1, [self.row], True)

    def goes_on(self, drawn: Drawn | int) -> bool:
        """A token was drawn: whether it was guessed, and another one is drawn after it and what a grammar forces."""
        job, guesses = self.draft.job, self.draft.tokens
        token = drawn if isinstance(drawn, int) else drawn.token
        if self._right == len(guesses) or token != guesses[self._right]:
            return False
        first = not self._pushed
        self._push(token)
        if job.matcher is None:
            return True
        forced, taken = job.matcher.advance(token, first)
        self._advanced += taken
        if forced is None or (forced and job.wants_logprobs):
            return False
        if forced != guesses[self._right : self._right + len(forced)]:
            return False
        for token in forced:
            self._push(token)
        return True

    def back(self) -> None:
        """The request is what it was."""
        job = self.draft.job
        if self._pushed:
            del job.output.tokens[-self._pushed :]
        if self._advanced and job.matcher is not None:
            job.matcher.retreat(self._advanced)

    def _push(self, token: int) -> None:
        self._right += 1
        self._pushed += 1
        self.draft.job.output.tokens.append(token)
