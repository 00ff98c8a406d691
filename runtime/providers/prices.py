"""What calls cost, by a table that the user gives: there is none built in, prices change too often to be right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Price:
    """Per million tokens, in any currency. `cached` is for prompt tokens that the endpoint had in its own cache
    (as `prompt` if not said)."""

    prompt: float
    completion: float
    cached: float | None = None

    def times(self, rate: float) -> Price:
        """The same at another rate: of an offline batch, say."""
        cached = None if self.cached is None else self.cached * rate
        return Price(self.prompt * rate, self.completion * rate, cached)

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        cached = self.prompt if self.cached is None else self.cached
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.prompt + cached_tokens * cached + completion_tokens * self.completion) / 1e6


def price_of(value: Any) -> Price | None:
    """A price as written: a Price, (prompt, completion[, cached]), or a mapping of these names. Raises ValueError."""
    if value is None or isinstance(value, Price):
        return value
    try:
        price = Price(**value) if isinstance(value, Mapping) else Price(*map(float, value))
        if all(0 <= part < math.inf for part in (price.prompt, price.completion, price.cached or 0.0)):
            return price
    except (TypeError, ValueError):
        pass
    raise ValueError(
        "a price is (prompt, completion) or (prompt, completion, cached), per million tokens and not below 0, not "
        f"{value!r}"
    )
