"""Figures of a run as a report, and intervals for comparisons of two programs on the same rows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lampc.passes.resample import resampled_group_means, resampled_means

if TYPE_CHECKING:
    from lampc.passes.resample import Floats


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the main job measured. Scores are 0 to 100; `*_random_demos` are means over several seeds.

    `prompt_tokens` were asked for; of these `prompt_tokens_computed` ran through the model, `prompt_tokens_stored`
    are those of calls that the store answered (finished by a run that was killed, or equal to another), and the rest
    was reused. `prompt_tokens_bound` is what the prefix tree of all prompts needs. The naive figures are those of the
    tuned program on the test rows one by one without sharing; `prompt_tokens_shared` and `seconds_shared`
    those of the same work done together.
    """

    dev_before: float
    dev_after: float
    test_before: float
    test_after: float
    dev_random_demos: float
    test_random_demos: float
    calls: int
    prompt_tokens: int
    prompt_tokens_computed: int
    prompt_tokens_bound: int
    seconds: float
    prompt_tokens_naive: int
    seconds_naive: float
    prompt_tokens_shared: int
    seconds_shared: float
    prompt_tokens_stored: int = 0

    @property
    def prompt_tokens_reused(self) -> int:
        """Those that were found computed: neither computed nor spared by the store."""
        return self.prompt_tokens - self.prompt_tokens_computed - self.prompt_tokens_stored

    @property
    def reused(self) -> float:
        """Share of them, 0 to 1, in the prompt tokens of calls that a model answered."""
        asked = self.prompt_tokens - self.prompt_tokens_stored
        return self.prompt_tokens_reused / asked if asked else 0.0

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(path.name + ".tmp")
        scratch.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        os.replace(scratch, path)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with a 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} [{self.low:.1f}, {self.high:.1f}]"


def bootstrap_interval(values: Sequence[float], *, draws: int = 4000, seed: int = 0) -> Interval:
    """Mean of `values` and its percentile bootstrap interval. Raises ValueError for no values."""
    means = resampled_means(values, draws, seed)
    return _interval(sum(values) / len(values), means)


def paired_interval(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], *, draws: int = 4000, seed: int = 0
) -> Interval:
    """Mean difference after - before and its 95 % interval.

    The outer lists are seeds, the inner ones the scores of the same rows in the same order. Both seeds and rows
    are drawn anew, rows within each drawn seed, so the interval holds for other seeds and other rows.
    Raises ValueError if the two sides differ in shape or are empty.
    """
    if not before or [len(b) for b in before] != [len(a) for a in after] or not all(before):
        raise ValueError("both sides need the same seeds and the same rows, at least one of each")
    gains = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(after, before, strict=True)]
    mean = sum(sum(g) / len(g) for g in gains) / len(gains)
    return _interval(mean, resampled_group_means(gains, draws, seed))


def _interval(mean: float, means: Floats) -> Interval:
    import numpy as np

    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high))
