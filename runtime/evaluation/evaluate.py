"""`Evaluate`: a program scored on examples, all rows in one batch."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.callbacks import active, telling
from lampc.frontend.python.example import Example, Prediction
from lampc.ir import Unit
from lampc.ir.prog import DefPredictor
from lampc.ir.runner import NoSession
from lampc.ir.settings import settings
from lampc.runtime.evaluation.compare import Comparison, compare
from lampc.runtime.evaluation.result import EvaluationResult
from lampc.runtime.evaluation.rows import Metric, called_on, metric_name, scorer
from lampc.runtime.evaluation.scoring import Scored, Scoring
from lampc.runtime.heard import heard
from lampc.runtime.objects import keeping, outputs_of
from lampc.runtime.types import Cell, Outcome, Usage

if TYPE_CHECKING:
    from lampc.runtime.session import Session

logger = logging.getLogger(__name__)


class TooManyErrors(RuntimeError):
    """At least `max_errors` rows failed. All rows were run: `result` holds every one of them."""

    def __init__(self, result: EvaluationResult) -> None:
        errors = result.errors
        super().__init__(f"{len(errors)} of {len(result.results)} rows failed; the last: {list(errors.values())[-1]}")
        self.result = result


class Evaluate:
    """Score a program on examples: `Evaluate(devset=rows, metric=f)(program)`.

    All rows run together in the configured session; a metric that asks models (a judge) has its calls fused too.
    `metric(example, prediction)` gives a number, true or false, a prediction with `score` and `feedback`, or is a
    coroutine function. A row that fails scores `failure_score` and is in `result.errors`; the run goes on, and the log
    has one warning that says how many failed and why the first did. With
    `max_errors`, TooManyErrors is raised once all rows have run. Nothing has a time limit of its own.
    `num_threads` is for metrics, and models that are Python code, that wait for the outside; others need no threads.
    """

    def __init__(
        self,
        *,
        devset: Sequence[Example],
        metric: Metric | None = None,
        num_threads: int | None = None,
        display_progress: bool = False,
        display_table: bool | int = False,
        max_errors: int | None = None,
        provide_traceback: bool | None = None,
        failure_score: float = 0.0,
        save_as_csv: str | None = None,
        save_as_json: str | None = None,
        **more: Any,
    ) -> None:
        if "return_outputs" in more:
            raise ValueError("`return_outputs` is gone: the outputs are always in `result.results`")
        more.pop("return_all_scores", None)  # as DSPy has it: accepted, and all scores are in the result anyway
        if more:
            raise TypeError(f"Evaluate has no option `{next(iter(more))}`")
        self.devset, self.metric, self.num_threads = devset, metric, num_threads
        self.display_progress, self.display_table = display_progress, display_table
        self.max_errors, self.provide_traceback, self.failure_score = max_errors, provide_traceback, failure_score
        self.save_as_csv, self.save_as_json = save_as_csv, save_as_json

    def __call__(
        self,
        program: Any,
        metric: Metric | None = None,
        devset: Sequence[Example] | None = None,
        num_threads: int | None = None,
        display_progress: bool | None = None,
        display_table: bool | int | None = None,
        callback_metadata: dict[str, Any] | None = None,
        save_as_csv: str | None = None,
        save_as_json: str | None = None,
    ) -> EvaluationResult:
        """Callbacks are told of it, with `callback_metadata`.

        Raises ValueError for no rows or no metric, TooManyErrors once `max_errors` rows have failed.
        """
        given = {
            "metric": metric, "devset": devset, "num_threads": num_threads, "display_progress": display_progress,
            "display_table": display_table, "save_as_csv": save_as_csv, "save_as_json": save_as_json,
        }  # fmt: skip
        callbacks = active(self)
        if not callbacks:
            return self._evaluate(program, **given)
        said = {"program": program, **given, "callback_metadata": callback_metadata}
        with telling("evaluate", self, said, callbacks) as told:
            told.outputs = result = self._evaluate(program, **given)
        return result

    def _evaluate(
        self, program: Any, metric: Any, devset: Any, num_threads: Any, display_progress: Any, display_table: Any,
        save_as_csv: Any, save_as_json: Any,
    ) -> EvaluationResult:  # fmt: skip
        wanted = metric or self.metric
        rows = self.devset if devset is None else devset
        examples = [e if isinstance(e, Example) else Example(e) for e in rows]
        if wanted is None:
            raise ValueError("Evaluate needs a metric: Evaluate(devset=rows, metric=f)")
        if not examples:
            raise ValueError("Evaluate needs at least one example")
        threads = num_threads or self.num_threads or int(settings.num_threads)
        with settings.context(num_threads=threads):
            result = self._run(
                program,
                wanted,
                examples,
                threads=threads,
                progress=self.display_progress if display_progress is None else display_progress,
            )
        to_csv, to_json = save_as_csv or self.save_as_csv, save_as_json or self.save_as_json
        if to_csv:
            result.to_csv(to_csv)
        if to_json:
            result.to_json(to_json)
        table = self.display_table if display_table is None else display_table
        if table:
            result.show(None if table is True else int(table))
        if errors := list(result.errors.values()):
            what = (len(errors), len(result.results), self.failure_score, errors[0])
            logger.warning("%d of %d rows failed and score %s; the first: %s", *what)
        if self.max_errors is not None and len(result.errors) >= self.max_errors > 0:
            raise TooManyErrors(result)
        return result

    async def acall(self, program: Any, **options: Any) -> EvaluationResult:
        """The same without blocking the event loop: the rows run on a thread."""
        return await asyncio.to_thread(self, program, **options)

    def compare(self, before: Any, after: Any, *, level: float = 0.95, seed: int = 0, **options: Any) -> Comparison:
        """Score two programs on the same rows, and compare them row by row."""
        return compare(self(before, **options), self(after, **options), level=level, seed=seed)

    def _run(
        self, program: Any, metric: Metric, examples: list[Example], *, threads: int, progress: bool
    ) -> EvaluationResult:
        from lampc.runtime.progress import Progress

        unit, rows = called_on(program, examples)
        unit, name = heard(unit, program), metric_name(metric)
        session = _session(unit)
        watch = _Watch(session, len(rows))
        scoring = Scoring(
            scorer(metric, unit),
            metric,
            name,
            session,
            threads=threads,
            failure_score=self.failure_score,
            tracebacks=bool(settings.provide_traceback if self.provide_traceback is None else self.provide_traceback),
            heard=watch.scored,
        )
        scored: list[Scored | None] = [None] * len(rows)
        calls: list[dict[str, int]] = [{}] * len(rows)
        given: dict[str, Any] = {}

        def finished(index: int, outcome: Outcome) -> None:
            if scored[index] is not None:
                return
            calls[index] = dict(Counter(t.predictor for t in outcome.trace))
            row = outcome.cell.row.id
            prediction = given.pop(row) if row in given else Prediction(outputs_of(unit, outcome))
            watch.ran()
            scored[index] = scoring.take(outcome, examples[index], prediction)

        before = dict(session.usage_by_node)
        with Progress(session.bus, quiet=not progress):
            with session.measured() as used:
                outcomes = session.run_cells(
                    keeping(unit, program, given), [Cell(r) for r in rows], unit.entry, finished
                )
                session.settle()
            for i, outcome in enumerate(outcomes):
                finished(i, outcome)
            nodes = {n: u - before.get(n, Usage()) for n, u in session.usage_by_node.items()}
            scoring.finish()
        done = [s for s in scored if s is not None]
        total = sum(s.score for s in done)
        result = EvaluationResult(round(100 * total / len(done), 2), [(s.example, s.prediction, s.value) for s in done])
        result._scored, result._calls, result._metric = done, calls, name
        result._usage, result._metric_usage = used[0], scoring.usage
        result._by_node = {n: u for n, u in nodes.items() if u.calls}
        return result


def _session(unit: Unit) -> Session:
    """The configured session; where none is, and the program asks no model that is known of, one without a model."""
    from lampc.runtime.configure import session_of
    from lampc.runtime.session import Session

    try:
        return session_of("Evaluate")
    except NoSession:
        if any(isinstance(op, DefPredictor) for op in unit.module.body.ops):
            raise
        return Session()


class _Watch:
    """Tells how far an evaluation is: rows that have run, then rows that are scored, with the mean so far."""

    def __init__(self, session: Session, total: int) -> None:
        self.session, self.total = session, total
        self.rows, self.done, self.failed, self.sum = 0, 0, 0, 0.0

    def ran(self) -> None:
        self.rows += 1
        if self.done < self.rows - 1:  # scores come later than rows
            self._tell("rows", self.rows)

    def scored(self, row: Scored) -> None:
        self.done += 1
        self.failed += row.error is not None
        self.sum += row.score
        self._tell("evaluate", self.done)

    def _tell(self, label: str, done: int) -> None:
        note = f"mean {100 * self.sum / self.done:.1f}" if self.done else ""
        more = {"errors": self.failed} if self.failed else {}
        self.session.bus.emit("progress", label=label, done=done, total=self.total, note=note, **more)
