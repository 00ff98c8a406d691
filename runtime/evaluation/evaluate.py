"""`Evaluate`: a program scored on examples, all rows in one batch."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lampc.frontend.python.example import Example, Prediction
from lampc.frontend.python.tracing import trace
from lampc.runtime.evaluation.rows import row_metric, rows_of


class EvaluationResult(Prediction):
    """`score` (0 to 100, two decimals) and `results`: (example, prediction, score) of each row."""

    def __init__(self, score: float, results: list[tuple[Example, Prediction, float]]) -> None:
        super().__init__(score=score, results=results)

    def __repr__(self) -> str:
        return f"EvaluationResult(score={self.score}, results=<{len(self.results)} rows>)"


class Evaluate:
    """Score a program on examples: `Evaluate(devset=rows, metric=f)(program)`.

    Rows run together in the configured session. A row that fails scores `failure_score`; the rest is never
    lost: `max_errors` raises only after all rows have run. Threads and tables of DSPy are accepted and not needed.
    """

    def __init__(
        self,
        *,
        devset: Sequence[Example],
        metric: Callable[..., Any] | None = None,
        num_threads: int | None = None,
        display_progress: bool = False,
        display_table: bool | int = False,
        max_errors: int | None = None,
        provide_traceback: bool | None = None,
        failure_score: float = 0.0,
        save_as_csv: str | None = None,
        save_as_json: str | None = None,
        **_: Any,
    ) -> None:
        self.devset, self.metric = devset, metric
        self.max_errors, self.failure_score = max_errors, failure_score
        self.save_as_csv, self.save_as_json = save_as_csv, save_as_json

    def __call__(
        self,
        program: Any,
        metric: Callable[..., Any] | None = None,
        devset: Sequence[Example] | None = None,
        num_threads: int | None = None,
        display_progress: bool | None = None,
        display_table: bool | int | None = None,
        callback_metadata: dict[str, Any] | None = None,
        save_as_csv: str | None = None,
        save_as_json: str | None = None,
    ) -> EvaluationResult:
        """Raises ValueError for no rows or no metric, RuntimeError once `max_errors` rows have failed."""
        from lampc.runtime.dspy_api import session_of
        from lampc.runtime.evaluate import evaluate

        wanted = metric or self.metric
        examples = list(self.devset if devset is None else devset)
        if wanted is None:
            raise ValueError("Evaluate needs a metric")
        if not examples:
            raise ValueError("Evaluate needs at least one example")
        unit = trace(program)
        rows = rows_of(examples, unit)
        session = session_of("Evaluate")
        found = evaluate(
            session, unit, rows, row_metric(wanted, unit), entry=unit.entry, failure_score=self.failure_score
        )
        if self.max_errors is not None and len(found.errors) >= self.max_errors > 0:
            raise RuntimeError(f"{len(found.errors)} of {len(rows)} rows failed; the last: {found.errors[-1]}")
        results = [
            (e, Prediction(o.value or {}), s) for e, o, s in zip(examples, found.outcomes, found.scores, strict=True)
        ]
        result = EvaluationResult(round(found.score, 2), results)
        _write(result, save_as_csv or self.save_as_csv, save_as_json or self.save_as_json)
        return result


def _write(result: EvaluationResult, to_csv: str | None, to_json: str | None) -> None:
    records = [{**e.toDict(), **{f"pred_{k}": v for k, v in p.items()}, "score": s} for e, p, s in result.results]
    if to_json:
        Path(to_json).write_text(json.dumps(records, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if to_csv:
        names = list(dict.fromkeys(k for r in records for k in r))
        with Path(to_csv).open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, names)
            writer.writeheader()
            writer.writerows(records)
