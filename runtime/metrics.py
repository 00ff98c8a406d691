"""Metrics: from a labelled row and a program's outputs to a score.

A metric is `exact_match` or `f1`, a function of the module (run by the reference interpreter), or Python: of
the form (gold, pred), or DSPy's (example, prediction, trace=None).
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lampc.ir import Record, freeze
from lampc.ir.builtins import BUILTINS
from lampc.ir.prog import Func
from lampc.ir.unit import Metric, Unit
from lampc.runtime.failures import RowFailure
from lampc.runtime.host_sources import host_identity
from lampc.runtime.hosts import plain
from lampc.runtime.types import Row, TraceStep

BUILTIN_METRICS = ("exact_match", "f1")


class MetricError(Exception):
    """A metric that cannot be used, or that failed on a row (`row` is then its id); the message says where."""

    def __init__(self, message: str, row: str = "") -> None:
        super().__init__(message)
        self.row = row


Score = Callable[[Row, dict[str, Any], Sequence[TraceStep] | None], Any]
"""(row, outputs, trace) to what the metric gave."""
CallScore = Callable[[Row, dict[str, Any], Sequence[TraceStep], int], Any]
"""(row, outputs, trace, place of a call in it) to what the metric gave about that call."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a metric said: a score, a text beside it, and what else it gave by name (JSON values)."""

    score: float
    feedback: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RowMetric:
    """A metric ready for use: `metric(row, outputs, trace)` gives a float. Raises MetricError naming the row.

    `identity` tells metrics apart that give different scores, as far as their source can be read. `about` is there if
    the metric can be asked about one call of a run.
    """

    name: str
    score: Score = field(repr=False)
    identity: str = ""
    about: CallScore | None = field(default=None, repr=False)

    def __call__(self, row: Row, outputs: dict[str, Any], trace: Sequence[TraceStep] | None = None) -> float:
        return self.judge(row, outputs, trace).score

    def judge(self, row: Row, outputs: dict[str, Any], trace: Sequence[TraceStep] | None = None) -> Judgement:
        """The same with what else the metric says. Raises MetricError.

        With a trace the question is whether the run is a good one, so a value that is no number counts by its truth, as
        in DSPy: `return` alone is a no.
        """
        if trace is None:
            return self._judged(row, lambda: self.score(row, outputs, trace))
        return self._judged(row, lambda: _by_truth(self.score(row, outputs, trace)))

    def judge_call(self, row: Row, outputs: dict[str, Any], trace: Sequence[TraceStep], call: int) -> Judgement:
        """What the metric says of one call of a run, or of the whole run if it knows no better. Raises MetricError."""
        about = self.about
        if about is None:
            return self.judge(row, outputs, trace)
        return self._judged(row, lambda: about(row, outputs, trace, call))

    def _judged(self, row: Row, ask: Callable[[], Any]) -> Judgement:
        try:
            return judgement(ask())
        except Exception as e:
            why = str(e) if isinstance(e, MetricError | RowFailure) else f"{type(e).__name__}: {e}"
            raise MetricError(f"metric `{self.name}` failed on {place(row)}: {why}", row.id) from e


def place(row: Row) -> str:
    """Where a row comes from, for messages."""
    return f"row {row.id} ({row.path}:{row.line})" if row.path else f"row {row.id}"


def build_metric(
    metric: str | Metric | Callable[..., Any], unit: Unit | None = None, base: Path = Path(".")
) -> RowMetric:
    """A metric by name (of the unit or built in), declaration or Python function. Raises MetricError."""
    if callable(metric):
        return _python(getattr(metric, "__name__", "metric"), metric, (), host_identity(metric))
    if isinstance(metric, str):
        declared = unit.metrics if unit is not None else {}
        if metric in declared:
            return build_metric(declared[metric], unit, base)
        if metric in BUILTIN_METRICS:
            return RowMetric(metric, _plain(BUILTINS[metric].run, ()), metric)
        if ":" not in metric:
            known = sorted({*declared, *BUILTIN_METRICS})
            near = difflib.get_close_matches(metric, known, 1)
            guess = f" (did you mean `{near[0]}`?)" if near else ""
            raise MetricError(f"there is no metric `{metric}`{guess}; known: {', '.join(known)}")
        metric = Metric(metric, metric, is_host=True)
    identity = f"{metric.function}({', '.join(metric.params)})"
    if metric.function in BUILTIN_METRICS:
        return RowMetric(metric.name, _plain(BUILTINS[metric.function].run, metric.params), identity)
    if metric.is_host:
        from lampc.runtime.hosts import HostError, resolve

        try:
            function = resolve(metric.function, base)
            return _python(metric.name, function, metric.params, f"{identity} {host_identity(function)}")
        except HostError as e:
            raise MetricError(f"metric `{metric.name}`: {e}") from None
    return RowMetric(metric.name, _function(metric, unit, base), identity)


def _function(metric: Metric, unit: Unit | None, base: Path) -> Score:
    from lampc.runtime.interp import interpret

    func = unit.module.lookup(metric.function) if unit is not None else None
    if not isinstance(func, Func) or unit is None:
        raise MetricError(f"metric `{metric.name}`: the module has no function `{metric.function}`")
    module, names = unit.module, [a.hint for a in func.body.args]
    if len(names) != 2:
        raise MetricError(f"metric `{metric.name}` takes (gold, pred), not {len(names)} parameters")
    records = isinstance(func.body.args[0].type, Record)

    def run(gold: Any, pred: Any) -> Any:
        value = interpret(module, dict(zip(names, (gold, pred), strict=True)), entry=func.symbol, base=base)
        return next(iter(value.values())) if isinstance(value, dict) else value

    return _plain(run, metric.params, records=records)


def _python(name: str, function: Callable[..., Any], params: tuple[str, ...], identity: str) -> RowMetric:
    try:
        signature = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        signature = []
    names = [p.name for p in signature]
    positional = [p for p in signature if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if "trace" not in names and names[:1] != ["example"]:
        if signature and len(positional) < 2 and not any(p.kind is p.VAR_POSITIONAL for p in signature):
            raise MetricError(f"metric `{function.__name__}` takes (gold, pred) or (example, prediction, trace=None)")
        return RowMetric(name, _plain(function, params), identity)
    missing = (None,) * max(0, sum(p.default is p.empty for p in positional) - 3)

    def steps_of(trace: Sequence[TraceStep]) -> list[Any]:
        from lampc.frontend.python.example import Prediction

        return [(t.predictor, t.inputs, Prediction(**t.outputs)) for t in trace]

    def call(row: Row, outputs: dict[str, Any], *more: Any) -> Any:
        from lampc.frontend.python.example import Example, Prediction

        example = Example(**row.inputs, **row.labels).with_inputs(*row.inputs)
        return function(example, Prediction(**outputs), *more)

    def score(row: Row, outputs: dict[str, Any], trace: Sequence[TraceStep] | None) -> Any:
        if "trace" not in names:
            return call(row, outputs)
        return call(row, outputs, None if trace is None else steps_of(trace), *missing)

    def about(row: Row, outputs: dict[str, Any], trace: Sequence[TraceStep], at: int) -> Any:
        return call(row, outputs, steps_of(trace), trace[at].predictor, steps_of(trace[at : at + 1]))

    return RowMetric(name, score, identity, about if takes_calls(function) else None)


def takes_calls(function: Callable[..., Any]) -> bool:
    """Whether a metric takes (gold, pred, trace, pred_name, pred_trace), as GEPA calls it."""
    try:
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(k in positional for k in kinds) >= 5 or inspect.Parameter.VAR_POSITIONAL in kinds


def _plain(function: Callable[[Any, Any], Any], params: tuple[str, ...], *, records: bool = False) -> Score:
    """Score of (gold, pred): values of the two fields in `params`; else of the labels that the outputs have.

    With several labels, `records` gives them as two records; otherwise the mean over them is taken.
    """

    def call(row: Row, outputs: dict[str, Any], trace: Sequence[TraceStep] | None) -> Any:
        if params:
            gold, pred = params[0], params[-1]
            known = {**row.inputs, **row.labels}
            return function(_get(known, gold, "the row"), _get(outputs, pred, "the output"))
        shared = [n for n in row.labels if n in outputs]
        if not shared and len(row.labels) == len(outputs) == 1:
            return function(*row.labels.values(), *outputs.values())
        if not shared:
            labels, made = ", ".join(row.labels) or "none", ", ".join(outputs) or "none"
            raise MetricError(f"no label has the name of an output (labels: {labels}; outputs: {made})")
        if records:
            return function({n: row.labels[n] for n in shared}, {n: outputs[n] for n in shared})
        if len(shared) == 1:
            return function(row.labels[shared[0]], outputs[shared[0]])
        return sum(_number(function(row.labels[n], outputs[n])) for n in shared) / len(shared)

    return call


def _get(values: dict[str, Any], name: str, what: str) -> Any:
    if name not in values:
        raise MetricError(f"{what} has no field `{name}`; it has {', '.join(values) or 'none'}")
    return values[name]


def judgement(value: Any) -> Judgement:
    """What a metric gave, taken apart: a number, or what carries a `score` (a mapping, a prediction, an object).

    Raises MetricError for anything else.
    """
    if not isinstance(value, Mapping) and hasattr(value, "toDict"):
        value = value.toDict()
    if not isinstance(value, Mapping):
        return Judgement(_number(value), _text(getattr(value, "feedback", "")))
    if "score" not in value:
        raise MetricError(f"a metric gives a number, or names its `score`, got {dict(value)!r:.200}")
    extra = {str(k): v for k, v in value.items() if k not in ("score", "feedback")}
    return Judgement(_number(value["score"]), _text(value.get("feedback")), {k: _kept(v) for k, v in extra.items()})


def _by_truth(value: Any) -> Any:
    if value is None or isinstance(value, str | list | tuple | set):
        return bool(value)
    return value


def _kept(value: Any) -> Any:
    """As JSON, or, where that cannot be, as it prints."""
    try:
        freeze(found := plain(value))
    except (TypeError, ValueError):
        return repr(value)
    return found


def _text(feedback: Any) -> str:
    return "" if feedback is None else str(feedback)


def _number(value: Any) -> float:
    """The score itself, or the `score` of what carries one."""
    value = getattr(value, "score", value)
    # numbers of numpy and torch are no `float`, and have its method
    if not isinstance(value, str) and hasattr(value, "__float__") and math.isfinite(made := float(value)):
        return made
    raise MetricError(f"a metric gives a finite number or true/false, got {value!r}")
