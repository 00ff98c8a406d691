"""Counts, token by token, what an engine computes: which prefixes, and how often each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lampc.backend.core import EngineCore
from lampc.backend.plan import Plan


class Computed:
    """Wraps an engine's runner. `times[prefix]` is how often the K/V of the last token of a prefix was computed and
    stored, prompts and generated tokens alike; a prefix is known by its token ids from position 0 on."""

    def __init__(self, engine: EngineCore) -> None:
        self.times: Counter[tuple[int, ...]] = Counter()
        self._inner: Any = engine._runner
        engine._runner = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "launch":
            raise AttributeError(name)
        return getattr(self._inner, name)

    def execute(self, plan: Plan) -> Sequence[Any]:
        stored = []
        for chunk in plan.chunks:
            ids = tuple(chunk.job.ids)
            stored += [ids[: at + 1] for at in range(max(chunk.start, chunk.write_from), chunk.end)]
        drawn: Sequence[Any] = self._inner.execute(plan)
        self.times.update(stored)  # a step that raises computed nothing
        return drawn

    @property
    def twice(self) -> int:
        """Tokens computed again, though the same prefix was computed before."""
        return sum(n - 1 for n in self.times.values())

    def prompt_tokens(self, prompts: Sequence[Sequence[int]]) -> tuple[int, int]:
        """(distinct prefixes of these prompts, how many tokens were computed for them)."""
        distinct = {tuple(p[: i + 1]) for p in prompts for i in range(len(p))}
        return len(distinct), sum(self.times[p] for p in distinct)
