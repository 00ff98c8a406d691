"""`bootstrap_trace_data`: what a program does on examples, call by call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import predictor_symbols
from lampc.ir.settings import settings
from lampc.runtime.configure import exception_of, session_of
from lampc.runtime.evaluation.rows import called_on
from lampc.runtime.failures import UnreadableAnswer
from lampc.runtime.objects import asked_whole, keeping, returned, steps_of

if TYPE_CHECKING:
    from lampc.frontend.python.module import Module
    from lampc.ir import Unit
    from lampc.runtime.types import Outcome

logger = logging.getLogger(__name__)


@dataclass
class FailedPrediction:
    """Stands for a prediction that could not be read: what the model wrote, and what that scores."""

    completion_text: str
    format_reward: float | None = None


def bootstrap_trace_data(
    program: Module,
    dataset: Sequence[Example],
    metric: Callable[..., Any] | None = None,
    num_threads: int | None = None,
    raise_on_error: bool = True,
    capture_failed_parses: bool = False,
    failure_score: float = 0,
    format_failure_score: float = -1,
    log_format_failures: bool = False,
    callback_metadata: dict[str, Any] | None = None,
    capture_crashes: bool = False,
) -> list[dict[str, Any]]:
    """For each example a dict of `example_ind`, `example`, `prediction`, `trace` and, with a metric, `score`.

    All examples run together. The trace is a list of (predictor, inputs, prediction), the predictors being those of
    `program`, and the metric is called with it. An answer that cannot be read gives a `FailedPrediction`, which also
    ends the trace; it scores `format_failure_score`, or as much nearer to `failure_score` as outputs could be read.
    With `capture_crashes` an exception of the program gives a `FailedPrediction` too. Other failures, and a metric that
    raises, are left out unless `raise_on_error`. `capture_failed_parses` and `callback_metadata` are DSPy's names: the
    former is always so.
    """
    unit, rows = called_on(program, dataset)
    unit = asked_whole(unit, program)
    given: dict[str, Any] = {}
    with settings.context(**({"num_threads": num_threads} if num_threads else {})):
        outcomes = session_of("bootstrap_trace_data").run(keeping(unit, program, given), rows)
    held = dict(predictor_symbols(program))
    data: list[dict[str, Any]] = []
    for i, (example, outcome) in enumerate(zip(dataset, outcomes, strict=True)):
        trace: list[Any] = [(held.get(n, n), *rest) for n, *rest in steps_of(unit, outcome.trace)]
        try:
            prediction = _prediction(program, unit, outcome, given, capture_crashes)
            score: Any = True
            if isinstance(prediction, FailedPrediction):
                if outcome.unread is not None:
                    prediction.format_reward = _reward(outcome, failure_score, format_failure_score)
                    trace.append((held.get(outcome.unread.predictor), outcome.unread.inputs, prediction))
                    if log_format_failures:
                        logger.warning("example %d: %s", i, outcome.error)
                reward = prediction.format_reward
                score = format_failure_score if reward is None else reward
            elif metric is not None:
                score = metric(example, prediction, trace)
        except Exception as e:
            if raise_on_error:
                raise
            logger.warning("example %d is left out: %s: %s", i, type(e).__name__, e)
            continue
        one = {"example": example, "prediction": prediction, "trace": trace, "example_ind": i}
        data.append({**one, "score": score} if metric is not None else one)
    return data


def _prediction(program: Module, unit: Unit, outcome: Outcome, given: dict[str, Any], capture_crashes: bool) -> Any:
    """What the program returned, or a failed prediction. Raises what ended the row otherwise."""
    row = outcome.cell.row.id
    if outcome.error is None:
        return given[row] if row in given else returned(unit, outcome.value or {})
    if outcome.unread is not None:
        return FailedPrediction(outcome.unread.text)
    raised = exception_of(outcome, program)
    if outcome.error.kind == "model" or not capture_crashes:
        raise raised
    return FailedPrediction(f"{type(raised).__name__}: {raised}")


def _reward(outcome: Outcome, failure_score: float, format_failure_score: float) -> float:
    found = outcome.exception
    if not isinstance(found, UnreadableAnswer):
        return format_failure_score
    share = len(found.partial or {}) / max(1, len(found.signature.outputs))
    return format_failure_score + (failure_score - format_failure_score) * share
