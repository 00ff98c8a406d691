"""What a run may cost at most, and what it has cost so far: one account for all programs of an optimisation."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lampc.runtime.types import Usage


@dataclass(frozen=True)
class Budget:
    """What a run may cost at most; 0 is no limit. `runs` are cells, `seconds` those of this process."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    runs: int = 0

    @staticmethod
    def of(pairs: Iterable[tuple[str, float]]) -> Budget:
        """From a declaration's `budget (tokens: 2M, time: 900s)`. Raises ValueError for an unknown name."""
        names = {"calls": "calls", "tokens": "tokens", "time": "seconds", "seconds": "seconds", "runs": "runs"}
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name not in names:
                raise ValueError(f"there is no budget `{name}`; known: calls, tokens, time, runs")
            values[names[name]] = value if names[name] == "seconds" else int(value)
        return Budget(**values)

    def spent(self, usage: Usage, runs: int, seconds: float) -> str:
        """Name of the first limit that is reached, or an empty text."""
        reached = {
            "calls": self.calls and usage.calls >= self.calls,
            "tokens": self.tokens and usage.prompt_tokens + usage.generated_tokens >= self.tokens,
            "seconds": self.seconds and seconds >= self.seconds,
            "runs": self.runs and runs >= self.runs,
        }
        return next((name for name, over in reached.items() if over), "")


UNLIMITED = Budget()


class BudgetSpent(Exception):
    """Raised out of a batch of runs; `limit` is the name of the limit. What is finished is kept."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the budget of {limit} is spent")
        self.limit = limit


@dataclass(slots=True)
class Spending:
    """Usage of everything that was wanted once, whichever process did it; `runs` are cells."""

    budget: Budget = UNLIMITED
    usage: Usage = Usage()
    runs: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, usage: Usage, runs: int = 0) -> None:
        """Book work that is done. Raises BudgetSpent once a limit is reached."""
        self.usage += usage
        self.runs += runs
        limit = self.budget.spent(self.usage, self.runs, time.monotonic() - self.started)
        if limit:
            raise BudgetSpent(limit)


__all__ = ["UNLIMITED", "Budget", "BudgetSpent", "Spending"]
