"""What a run may cost at most, and what it has cost so far: one account for all programs of an optimisation."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lampc.runtime.calling_off import RunControl, control
from lampc.runtime.types import Usage

CANCELLED = "cancelled"
"""The limit that a run has reached which was called off."""


@dataclass(frozen=True)
class Budget:
    """What a run may cost at most; 0 is no limit.

    `calls`, `tokens` (of prompts and answers) and `runs` (cells) count everything that was wanted, in whichever process
    it was done and whoever computed it: a run that is resumed ends where one that was not interrupted does. `seconds`
    are those of this process, `money` is what calls that a model answered cost, by the prices of the models.
    """

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    runs: int = 0
    money: float = 0.0

    @staticmethod
    def of(pairs: Iterable[tuple[str, float]]) -> Budget:
        """From a declaration's `budget (tokens: 2M, time: 900s)`. Raises ValueError for an unknown name."""
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name not in _NAMES:
                raise ValueError(
                    f"there is no budget `{name}`; known: {', '.join(n for n in _NAMES if n != 'seconds')}"
                )
            values[_NAMES[name]] = value if _NAMES[name] in ("seconds", "money") else int(value)
        return Budget(**values)

    def spent(self, usage: Usage, runs: int, seconds: float) -> str:
        """Name of the first limit that is reached, or an empty text."""
        reached = {
            "calls": self.calls and usage.calls >= self.calls,
            "tokens": self.tokens and usage.tokens >= self.tokens,
            "seconds": self.seconds and seconds >= self.seconds,
            "runs": self.runs and runs >= self.runs,
            "money": self.money and usage.cost >= self.money,
        }
        return next((name for name, over in reached.items() if over), "")


_NAMES = {n: n for n in ("calls", "tokens")} | {
    "time": "seconds",
    "seconds": "seconds",
    "runs": "runs",
    "money": "money",
}
UNLIMITED = Budget()


class BudgetSpent(Exception):
    """Raised out of a batch of runs; `limit` is the name of the limit. What is finished is kept."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit if limit == CANCELLED else f"the budget of {limit} is spent")
        self.limit = limit


@dataclass(slots=True)
class Spending:
    """Usage of everything that was wanted once, whichever process did it; `runs` are cells."""

    budget: Budget = UNLIMITED
    usage: Usage = Usage()
    runs: int = 0
    started: float = field(default_factory=time.monotonic)
    control: RunControl | None = field(default_factory=control)

    def note(self, usage: Usage) -> None:
        """Book work that is not to be broken off."""
        self.usage += usage

    def add(self, usage: Usage, runs: int = 0) -> None:
        """Book work that is done. Raises BudgetSpent once a limit is reached, or the run is called off."""
        self.usage += usage
        self.runs += runs
        self.check()

    def check(self, more: Usage = Usage()) -> None:
        """Raises BudgetSpent if a limit is reached with `more`, or the run was called off."""
        limit = self.budget.spent(self.usage + more, self.runs, time.monotonic() - self.started)
        if self.control is not None and self.control.cancelled:
            limit = CANCELLED
        if limit:
            raise BudgetSpent(limit)


__all__ = ["UNLIMITED", "Budget", "BudgetSpent", "Spending"]
