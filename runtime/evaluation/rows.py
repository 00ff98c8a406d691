"""Between examples and rows: what DSPy's users hand over, as a session takes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from lampc.frontend.python.data import MetricFunction
from lampc.frontend.python.example import Example, Prediction
from lampc.ir import Unit
from lampc.ir.prog import Func
from lampc.runtime.host_sources import host_identity
from lampc.runtime.metrics import RowMetric, build_metric
from lampc.runtime.types import Row, TraceStep


def rows_of(examples: Sequence[Any], unit: Unit) -> list[Row]:
    """Examples as rows; one that does not say its inputs gives those that the program takes."""
    entry = unit.module.lookup(unit.entry)
    takes = [a.hint for a in entry.body.args] if isinstance(entry, Func) else None
    out = []
    for i, e in enumerate(examples):
        example = e if isinstance(e, Example) else Example(e)
        if example._input_keys is None:
            if takes is None:
                raise ValueError("say which names are inputs: example.with_inputs('question')")
            example = example.with_inputs(*(k for k in example if k in takes))
        out.append(Row(str(i), example.inputs().toDict(), example.labels().toDict()))
    return out


def row_metric(metric: Callable[..., Any], unit: Unit) -> RowMetric:
    """A metric of DSPy's form (example, prediction, trace=None), or one declared with `@lampc.metric`."""
    if isinstance(metric, MetricFunction) and metric.compares():
        return build_metric(metric.function, unit)
    traced = len(inspect.signature(metric).parameters) > 2

    def score(row: Row, outputs: dict[str, Any], trace: Sequence[TraceStep] | None) -> Any:
        example = Example(**row.inputs, **row.labels).with_inputs(*row.inputs)
        steps = [(t.predictor, t.inputs, Prediction(t.outputs)) for t in trace] if trace is not None else None
        more = (steps,) if traced else ()
        value = metric(example, Prediction(outputs), *more)
        return value["score"] if isinstance(value, Prediction) else value

    return RowMetric(getattr(metric, "__name__", "metric"), score, host_identity(metric))
