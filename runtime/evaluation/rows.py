"""Between examples and rows: programs, examples and metrics as users hand them over, as a session takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lampc.frontend.python.continuing import is_answer
from lampc.frontend.python.data import MetricFunction
from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.frontend.python.tracing import outputs, runnable
from lampc.ir import Diagnostic, Unit
from lampc.ir import Module as IRModule
from lampc.ir.prog import Func
from lampc.runtime.evaluation.coroutines import value_of
from lampc.runtime.host_sources import code_identity
from lampc.runtime.hosts import described, plain
from lampc.runtime.metrics import RowMetric, build_metric, takes_calls
from lampc.runtime.objects import called, returned, steps_of
from lampc.runtime.types import Row, TraceStep

Metric = Callable[..., Any]
"""(example, prediction, trace=None), or (gold, pred) where declared with `@lampc.metric`; a coroutine function too."""


def unit_of(program: Any) -> Unit:
    """A program as a unit; any other callable runs row by row as it is. Raises TypeError for what cannot be called."""
    try:
        return runnable(program)
    except TypeError:
        if not callable(program):
            raise
    name = type(program).__name__
    note = Diagnostic("L0711", f"`{name}` is an object that is called as it is", severity="note")
    made = Unit(IRModule(), name, dynamic=note)
    made.host_entry = lambda **inputs: outputs(program(**inputs))
    return made


def called_on(program: Any, examples: Sequence[Example]) -> tuple[Unit, list[Row]]:
    """A program and examples as calls with their inputs would be, labels as JSON. An example that does not say its
    inputs gives those that the program takes.

    Raises ValueError where neither says which names are inputs, CompileError, and TypeError for what cannot be called.
    """
    takes = None if all(e._input_keys is not None for e in examples) else _taken(unit_of(program))
    inputs = []
    for i, example in enumerate(examples):
        wanted = takes if example._input_keys is None else example._input_keys
        if wanted is None:
            raise ValueError(f"example {i} does not say which names are inputs: example.with_inputs('question')")
        unsaid = example._input_keys is None
        inputs.append({k: v for k, v in example.items() if k in wanted or (unsaid and k == "after" and is_answer(v))})
    try:
        unit, rows = called(program, inputs)
    except TypeError:
        unit, rows = unit_of(program), [Row(str(i), values) for i, values in enumerate(inputs)]
    labels = [plain({k: v for k, v in e.items() if k not in i}) for e, i in zip(examples, inputs, strict=True)]
    return unit, [replace(row, labels=own) for row, own in zip(rows, labels, strict=True)]


def kept_rows(rows: Sequence[Row], examples: Sequence[Example]) -> list[Row]:
    """Rows as journals have them, with the objects that programs and metrics are to see."""
    return [
        replace(r, inputs=described(r.inputs), labels=described(r.labels), given=r.inputs, example=e)
        for r, e in zip(rows, examples, strict=True)
    ]


def _taken(unit: Unit) -> list[str] | None:
    entry = unit.module.lookup(unit.entry)
    return [a.hint for a in entry.body.args] if isinstance(entry, Func) else None


def metric_name(metric: Metric) -> str:
    """The name of a function, or of the class of another callable."""
    return str(getattr(metric, "__name__", "") or type(metric).__name__)


def scorer(metric: Metric, unit: Unit) -> Callable[[Row, Example, Any], Any]:
    """What a metric gives for one row, as it gave it: a number, a prediction with a score, or a coroutine."""
    if isinstance(metric, MetricFunction) and metric.compares():
        compare = build_metric(metric.function, unit)
        return lambda row, example, prediction: compare.score(row, plain(outputs(prediction)), None)
    function = metric.function if isinstance(metric, MetricFunction) else metric
    more = (None,) * max(0, _required(_code(function)) - 2)
    return lambda row, example, prediction: function(example, prediction, *more)


def _code(metric: Metric) -> Metric:
    """Where the parameters of a metric stand: a judge's in its `forward`."""
    return metric.forward if isinstance(metric, Module) else metric


def _required(function: Metric) -> int:
    """How many positional arguments a function cannot do without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 2
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in parameters)


def row_metric(
    metric: Metric,
    unit: Unit,
    predictors: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> RowMetric:
    """A metric of DSPy's form (example, prediction, trace=None), or one declared with `@lampc.metric`, for optimizers.

    Steps of the trace name their predictor, or hold it where `predictors` has it by its symbol. One that takes
    (gold, pred, trace, pred_name, pred_trace) may be asked about single calls; `names` are then what it knows the
    symbols by. Coroutines are run together where many are judged, else on the spot.
    """
    if isinstance(metric, MetricFunction) and metric.compares():
        return build_metric(metric.function, unit)
    function = metric.function if isinstance(metric, MetricFunction) else metric
    traced = len(inspect.signature(_code(function)).parameters) > 2
    missing = (None,) * max(0, _required(_code(function)) - 3)
    held, called = predictors or {}, names or {}

    def steps(trace: Sequence[TraceStep]) -> list[Any]:
        return [(held.get(n, n), *rest) for n, *rest in steps_of(unit, trace)]

    def asked(row: Row, outputs: dict[str, Any], *more: Any) -> Any:
        example = row.example
        if example is None:
            example = Example(**row.inputs, **row.labels).with_inputs(*row.inputs)
        return value_of(lambda: function(example, returned(unit, outputs), *more))

    def score(row: Row, outputs: dict[str, Any], trace: Sequence[TraceStep] | None) -> Any:
        return asked(row, outputs, *((None if trace is None else steps(trace), *missing) if traced else ()))

    def about(row: Row, outputs: dict[str, Any], trace: Sequence[TraceStep], at: int) -> Any:
        name = trace[at].predictor
        return asked(row, outputs, steps(trace), called.get(name, name), steps(trace[at : at + 1]))

    return RowMetric(metric_name(metric), score, code_identity(metric), about if takes_calls(_code(function)) else None)
