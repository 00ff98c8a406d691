"""What the user's engine gives back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lampc.backend.request import Completion, Finish


@dataclass(frozen=True, slots=True)
class Generation:
    """What became of one prompt: its token ids, and `n` completions of it.

    `text`, `tokens` and `finish` are those of the first completion.
    """

    prompt: tuple[int, ...]
    completions: tuple[Completion, ...]

    @property
    def text(self) -> str:
        """The text generated."""
        return self.completions[0].text

    @property
    def tokens(self) -> tuple[int, ...]:
        """The token ids generated."""
        return self.completions[0].tokens

    @property
    def finish(self) -> Finish:
        """Why it ended: "stop", "length", "timeout" or "abort"."""
        return self.completions[0].finish

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of all completions."""
        return tuple(c.text for c in self.completions)

    def __str__(self) -> str:
        return self.text


def likeliest_of(completions: Sequence[Completion], count: int) -> list[Completion]:
    """The `count` with the highest ln p per token, the likeliest first, of equals the earlier ones; all, in their
    order, if they are no more. Completions without a token, and those that failed, come last."""
    if len(completions) <= count:
        return list(completions)

    def mean(completion: Completion) -> float:
        if completion.finish not in ("stop", "length") or not completion.logprobs:
            return -math.inf
        return math.fsum(completion.logprobs) / len(completion.logprobs)

    return sorted(completions, key=mean, reverse=True)[:count]


@dataclass(frozen=True, slots=True)
class Scored:
    """How likely the model finds a continuation: its token ids and ln p of each, in nats."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def total(self) -> float:
        """ln p of the whole continuation."""
        return math.fsum(self.logprobs)

    @property
    def mean(self) -> float:
        """ln p per token: compares continuations of different length."""
        return self.total / len(self.logprobs)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The likeliest of a few texts as the continuation of a prefix, its place among them, and how likely all are."""

    text: str
    index: int
    scores: tuple[Scored, ...]
