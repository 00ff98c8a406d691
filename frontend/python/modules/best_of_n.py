"""`BestOfN`: several attempts of a module, and the best by a reward."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lampc.frontend.python.example import Prediction
from lampc.frontend.python.module import Module
from lampc.frontend.python.modules.graph import attempt, best_of, column
from lampc.ir.runner import gather
from lampc.ir.settings import settings

logger = logging.getLogger(__name__)

Reward = Callable[[dict[str, Any], Prediction], float]


class BestOfN(Module):
    """Up to `N` attempts of `module`: the first whose reward reaches `threshold`, else the one of highest reward.

    Attempts are drawn at temperature 1 (unless a predictor has its own), each under a `rollout_id` of its own. All
    run together, as forks of one prefix; under the setting `compat="dspy-3.4"` one after another until one reaches
    the threshold. An attempt that raises counts as none; more than `fail_count` (by default `N`) of them end the call.
    """

    def __init__(
        self, module: Module, N: int, reward_fn: Reward, threshold: float, fail_count: int | None = None
    ) -> None:
        super().__init__()
        if N < 1:
            raise ValueError(f"BestOfN makes at least one attempt, not {N}")
        self.module = module
        self.reward_fn = reward_fn
        self.threshold = threshold
        self.N = N
        self.fail_count = fail_count or N

    def forward(self, **kwargs: Any) -> Any:
        if settings.compat.startswith("dspy"):
            return self._one_by_one(kwargs)
        tries = [lambda i=i: self.attempt(i, kwargs) for i in range(self.N)]
        found = gather(tries, self.chosen)
        raise_beyond(found, self.fail_count)
        return kept(found, self.chosen(found))

    def _graph(self, **inputs: Any) -> Any:
        """`forward` as it is traced."""
        if settings.compat.startswith("dspy"):
            rows = []
            for _ in range(self.N):
                rows.append(attempt(self.module, inputs, self.reward_fn, self.threshold))
                if rows[-1]["reached"]:
                    break
        else:
            rows = [attempt(self.module, inputs, self.reward_fn, self.threshold) for _ in range(self.N)]
        if self.fail_count < self.N:
            failed = [e for e in column(rows, "error") if e is not None]
            assert len(failed) <= self.fail_count, "too many attempts failed"
        return rows[best_of(column(rows, "reward"), self.threshold)]["prediction"]

    def attempt(self, number: int, kwargs: dict[str, Any]) -> tuple[Any, float, list[Any]]:
        """(prediction, reward, trace) of one attempt."""
        trace: list[Any] = []
        with settings.context(sampling=attempt_sampling(number), trace=trace):
            prediction = self.module(**kwargs)
        return prediction, self.reward_fn(kwargs, prediction), trace

    def chosen(self, found: list[Any]) -> int | None:
        """Which of the attempts counts; None if all failed."""
        return best(found, self.threshold)

    def _one_by_one(self, kwargs: dict[str, Any]) -> Any:
        found: list[Any] = []
        for i in range(self.N):
            found += gather([lambda i=i: self.attempt(i, kwargs)])  # type: ignore[misc]
            raise_beyond(found, self.fail_count)
            if not isinstance(found[-1], Exception) and found[-1][1] >= self.threshold:
                break
        return kept(found, self.chosen(found))


def attempt_sampling(number: int) -> dict[str, Any]:
    """Defaults of sampling in one of several attempts: they are to differ."""
    start = int(settings.sampling.get("rollout_id") or 0)
    return {**settings.sampling, "temperature": 1.0, "rollout_id": start + number}


def best(found: list[Any], threshold: float | None) -> int | None:
    """The first (prediction, reward, trace) that reaches the threshold, else the first of the highest reward."""
    good = [(i, f[1]) for i, f in enumerate(found) if not isinstance(f, Exception)]
    reached = [i for i, reward in good if threshold is not None and reward >= threshold]
    if reached:
        return reached[0]
    return max(good, key=lambda pair: pair[1])[0] if good else None


def kept(found: list[Any], chosen: int | None) -> Any:
    """The prediction of the chosen attempt, whose trace is the only one that counts; None if there is none."""
    if chosen is None:
        return None
    prediction, _, trace = found[chosen]
    if settings.trace is not None:
        settings.trace.extend(trace)
    return prediction


def raise_beyond(found: list[Any], allowed: int) -> None:
    """Log the attempts that failed; raise the last if there are more than are allowed."""
    failed = [f for f in found if isinstance(f, Exception)]
    for e in failed:
        logger.warning("an attempt failed: %s: %s", type(e).__name__, e)
    if len(failed) > allowed:
        raise failed[-1]
