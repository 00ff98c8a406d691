"""Scores by group: by what a column says, and by the predictors that rows went through."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lampc.frontend.python.example import Example
from lampc.ir.diag import there_are
from lampc.runtime.evaluation.export import outputs_of
from lampc.runtime.evaluation.scoring import Scored
from lampc.runtime.evaluation.stats import mean_interval
from lampc.runtime.report import Interval
from lampc.runtime.types import Usage

By = str | Callable[[Example, Any], Any]
"""A column of the example (or, where it has none of that name, of the prediction), or a function of both."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that have something in common. `score` is 0 to 100, `rows` are indices, `failed` those without a score."""

    rows: tuple[int, ...]
    scores: tuple[float, ...] = field(repr=False)
    failed: int = 0

    @property
    def score(self) -> float:
        return 100 * sum(self.scores) / len(self.scores) if self.scores else 0.0

    def interval(self, level: float = 0.95, seed: int = 0) -> Interval:
        """Bootstrap interval of the score."""
        return mean_interval([100 * s for s in self.scores], level=level, seed=seed)


@dataclass(frozen=True, slots=True)
class PredictorGroup(Group):
    """Rows that reached a predictor: its calls, the rows that ended in a failure of it, and what its calls cost."""

    calls: int = 0
    broken: int = 0
    usage: Usage = Usage()


def by_column(scored: Sequence[Scored], by: By) -> dict[Any, Group]:
    """Groups in the order in which they are first seen. Raises KeyError for a column that no row has."""
    groups: dict[Any, list[int]] = {}
    for i, s in enumerate(scored):
        groups.setdefault(_key(s, by), []).append(i)
    if isinstance(by, str) and not any(by in s.example or by in outputs_of(s.prediction) for s in scored):
        known = dict.fromkeys(k for s in scored for k in (*s.example.keys(), *outputs_of(s.prediction)))
        raise KeyError(f"there is no column `{by}`; {there_are(known)}")
    return {key: Group(*_of(scored, rows)) for key, rows in groups.items()}


def by_predictor(
    scored: Sequence[Scored], calls: Sequence[dict[str, int]], usage: dict[str, Usage]
) -> dict[str, PredictorGroup]:
    """By name of the predictor; `calls` counts for each row the calls that succeeded."""
    broken = {i: name for i, s in enumerate(scored) if s.error and (name := _culprit(s.error.message, usage))}
    names = dict.fromkeys([*usage, *(n for row in calls for n in row), *broken.values()])
    out = {}
    for name in names:
        rows = [i for i, row in enumerate(calls) if name in row or broken.get(i) == name]
        out[name] = PredictorGroup(
            *_of(scored, rows),
            calls=sum(row.get(name, 0) for row in calls),
            broken=sum(n == name for n in broken.values()),
            usage=usage.get(name, Usage()),
        )
    return out


def _of(scored: Sequence[Scored], rows: list[int]) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    return tuple(rows), tuple(scored[i].score for i in rows), sum(scored[i].error is not None for i in rows)


def _key(s: Scored, by: By) -> Any:
    if isinstance(by, str):
        value = s.example[by] if by in s.example else outputs_of(s.prediction).get(by)
    else:
        try:
            value = by(s.example, s.prediction)
        except Exception as e:  # a failed row has no outputs to ask for
            if s.error is None:
                raise
            value = f"{type(e).__name__} (failed rows)"
    return value if isinstance(value, Hashable) and not isinstance(value, Example) else repr(value)


def _culprit(message: str, names: dict[str, Usage]) -> str:
    """The predictor that an error's text begins with."""
    head = message.partition(": ")[0]
    return head if head in names else ""
