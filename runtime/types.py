"""What goes into a run and what comes out of it: rows, cells, outcomes, traces, usage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lampc.ir import Assignment


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled row. `id` keys its randomness; `path` and `line` say where it was read.

    A row made of the user's objects holds them, too: `given` are the inputs as they were given, for a program that runs
    as plain Python, `example` is the row itself, for its metric.
    """

    id: str
    inputs: dict[str, Any]
    labels: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    line: int = 0
    given: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    example: Any = field(default=None, repr=False, compare=False)


class Returned(dict[str, Any]):
    """Outputs by name as JSON, with what the program returned."""

    def __init__(self, outputs: Mapping[str, Any], whole: Any) -> None:
        super().__init__(outputs)
        self.whole = whole


@dataclass(frozen=True, slots=True)
class Cell:
    """One run wanted: a row under a candidate. `rollout` makes further draws of the same cell differ; a `temperature`
    stands in the place of that of all its calls."""

    row: Row
    assignment: Assignment = Assignment()
    rollout: int = 0
    temperature: float | None = None


@dataclass(slots=True, unsafe_hash=True)  # never changed; a frozen one takes five times as long to make
class Usage:
    """Counts of a run. `prompt_tokens` were asked for; of these `computed_tokens` were run through the model,
    `cached_tokens` reused, and `stored_tokens` are those of `stored_calls`, which an earlier or equal call answered
    and which cost nothing; `stored_generated` are the tokens of those answers. Of the generated tokens `forced_tokens`
    were those that a grammar left no choice about: they took no step of their own. `cost` is money, by the prices that
    models were given; what was answered without a model cost nothing."""

    calls: int = 0
    stored_calls: int = 0
    prompt_tokens: int = 0
    computed_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    stored_tokens: int = 0
    seconds: float = 0.0
    forced_tokens: int = 0
    stored_generated: int = 0
    cost: float = 0.0

    @staticmethod
    def stored(prompt_tokens: int, generated_tokens: int = 0) -> Usage:
        """Of one call that was answered without a model."""
        return Usage(1, 1, prompt_tokens, stored_tokens=prompt_tokens, stored_generated=generated_tokens)

    @property
    def tokens(self) -> int:
        """Tokens of all prompts and answers, whoever computed them: the same for equal calls."""
        return self.prompt_tokens + self.generated_tokens + self.stored_generated

    def __add__(self, other: Usage) -> Usage:
        return Usage(  # written out: this is done several times a call
            self.calls + other.calls,
            self.stored_calls + other.stored_calls,
            self.prompt_tokens + other.prompt_tokens,
            self.computed_tokens + other.computed_tokens,
            self.cached_tokens + other.cached_tokens,
            self.generated_tokens + other.generated_tokens,
            self.stored_tokens + other.stored_tokens,
            self.seconds + other.seconds,
            self.forced_tokens + other.forced_tokens,
            self.stored_generated + other.stored_generated,
            self.cost + other.cost,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, n) - getattr(other, n) for n in Usage.__slots__))


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One LM call of a run, in program order: what went in, what came out, and the model's text. `score` is the
    log-probability of that text, in nats, if it is of the proxy of a cascade."""

    predictor: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    text: str = ""
    where: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row failed. `where` is the place in the user's source, `kind` the error's class; `text` is what the model
    wrote, if that could not be read."""

    message: str
    where: str = ""
    row: str = ""
    kind: str = ""
    text: str = ""

    def __str__(self) -> str:
        at = f"{self.where}: " if self.where and f"({self.where})" not in self.message else ""
        named = not self.row or re.search(rf"\brow {re.escape(self.row)}\b", self.message)
        return f"{at}{self.message}" + ("" if named else f" (row {self.row})")


@dataclass(slots=True)
class Outcome:
    """What became of a cell: a value (outputs by name) or an error, never both. `unread` is the call whose answer could
    not be read, if that ended it; `exception` is what ended it, where this process ran it."""

    cell: Cell
    value: dict[str, Any] | None = None
    error: RowError | None = None
    trace: list[TraceStep] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    unread: TraceStep | None = None
    exception: BaseException | None = field(default=None, repr=False, compare=False)
