"""What an evaluation found: the score, each row, intervals, breakdowns, tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lampc.frontend.python.example import Example, Prediction
from lampc.runtime.evaluation import export
from lampc.runtime.evaluation.breakdown import By, Group, PredictorGroup, by_column, by_predictor
from lampc.runtime.evaluation.compare import Comparison, compare
from lampc.runtime.evaluation.scoring import Scored
from lampc.runtime.evaluation.stats import mean_interval
from lampc.runtime.report import Interval
from lampc.runtime.types import RowError, Usage


class EvaluationResult(Prediction):
    """`score` (0 to 100, two decimals) and `results`: (example, prediction, score as the metric gave it) of each row.

    A row that failed has an empty prediction (or the one that the metric failed on), the failure score, and is in
    `errors`. `usage` is what the program's calls cost, `metric_usage` what those of the metric did.
    """

    score: float
    results: list[tuple[Example, Prediction, Any]]
    _scored: Sequence[Scored] = ()
    _calls: Sequence[dict[str, int]] = ()
    _usage: Usage = Usage()
    _metric_usage: Usage = Usage()
    _by_node: dict[str, Usage]
    _metric: str = "score"

    def __init__(self, score: float, results: list[tuple[Example, Prediction, Any]]) -> None:
        super().__init__(score=score, results=results)
        self._by_node = {}

    def __repr__(self) -> str:
        return f"EvaluationResult(score={self.score}, results=<list of {len(self.results)} results>)"

    @property
    def scores(self) -> tuple[float, ...]:
        """One number for each row, 0 to 1 for most metrics."""
        return tuple(s.score for s in self._scored)

    @property
    def errors(self) -> dict[int, RowError]:
        """Why rows failed, by their index."""
        return {i: s.error for i, s in enumerate(self._scored) if s.error is not None}

    @property
    def usage(self) -> Usage:
        return self._usage

    @property
    def metric_usage(self) -> Usage:
        return self._metric_usage

    def interval(self, level: float = 0.95, seed: int = 0) -> Interval:
        """The score and its bootstrap interval."""
        return mean_interval([100 * s for s in self.scores], level=level, seed=seed)

    def by(self, column: By) -> dict[Any, Group]:
        """Scores by the values of a column, or by what a function of (example, prediction) says.

        Raises KeyError for a column that no row has.
        """
        return by_column(self._scored, column)

    def by_predictor(self) -> dict[str, PredictorGroup]:
        """Scores and costs by predictor, of the rows that reached it."""
        return by_predictor(self._scored, self._calls, self._by_node)

    def compare(self, after: EvaluationResult, **options: Any) -> Comparison:
        """This result against that of another program on the same rows; options as in `lampc.compare`."""
        return compare(self, after, **options)

    def records(self) -> list[dict[str, Any]]:
        """One flat record a row: the example's values, the outputs, the metric's value, and why the row failed."""
        return export.records(self._scored, self._metric)

    def to_csv(self, path: str | Path) -> None:
        export.write_csv(self.records(), Path(path))

    def to_json(self, path: str | Path) -> None:
        export.write_json(self.records(), Path(path))

    def show(self, rows: int | None = None, by: By | None = None) -> None:
        """Print a table of the rows (the first `rows` of them), or of the groups of a column, to standard output."""
        from lampc.runtime.evaluation import table

        if by is not None:
            table.print_groups(self.by(by), by if isinstance(by, str) else "group")
        else:
            table.print_rows(self.records(), self._metric, rows)
