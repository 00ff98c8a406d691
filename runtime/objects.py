"""Where values leave a program for the user's Python: JSON becomes objects of the classes that its types name."""

from __future__ import annotations

import contextlib
import copy
import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lampc.frontend.python.continuing import is_answer
from lampc.frontend.python.example import Example, Prediction
from lampc.frontend.python.module import Module
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.frontend.python.source import open_ended
from lampc.frontend.python.tracing import defaults_of, host_entry, runnable
from lampc.ir import MEDIA, Diagnostic, Field, Unit
from lampc.ir.hostvalues import host_class, hosts_of, lifted
from lampc.ir.prog import DefPredictor, Func
from lampc.ir.prog import Predict as AskPredictor
from lampc.ir.runner import current_runner
from lampc.ir.types import ANY, Type, mismatch
from lampc.runtime.failures import RowFailure
from lampc.runtime.hosts import plain
from lampc.runtime.types import Outcome, Returned, Row, TraceStep


def with_objects(value: Any, type: Type, base: Path = Path(".")) -> Any:
    """A value with objects in the place of what their classes stand for. Raises RowFailure for one that its class
    does not take. A class that cannot be found is no error: the value is then the JSON that it was."""
    names = hosts_of(type)
    if not names:
        return value
    for name in names:
        if host_class(name) is None:
            _find(name, base)
    try:
        return lifted(value, type)
    except ValueError as e:
        raise RowFailure(str(e), kind="value") from None


def _find(name: str, base: Path) -> None:
    """Register a class that a saved program names."""
    from lampc.frontend.python.annotations import BadType, to_type
    from lampc.runtime.hosts import HostError, resolve

    try:
        to_type(resolve(name, base))
    except (HostError, BadType):
        return


def outputs_of(unit: Unit, outcome: Outcome) -> dict[str, Any]:
    """The outputs of a row as Python's objects."""
    return as_objects(unit, outcome.value or {})


def as_objects(unit: Unit, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs of a program by name, as Python's objects. Of a program that runs as plain Python no types are known:
    there an output is what the predictors of the program have under its name, if it fits and they agree."""
    func = unit.module.lookup(unit.entry) if unit.dynamic is None else None
    if isinstance(func, Func):
        return dict(with_objects(dict(outputs), func.returns))
    types: dict[str, list[Type]] = {}
    for op in unit.module.body.ops:
        for f in op.signature.outputs if isinstance(op, DefPredictor) else ():
            known = types.setdefault(f.name, [])
            known += [] if f.type in known else [f.type]
    out = dict(outputs)
    for name, (found, *others) in types.items():
        if name in out and not others and mismatch(out[name], found) is None:
            out[name] = with_objects(out[name], found)
    return out


def returned(unit: Unit, outputs: Mapping[str, Any]) -> Any:
    """What the program returned: a prediction, or the plain value that its only output is. Who changes a prediction
    changes that of nobody else."""
    if isinstance(outputs, Returned):
        whole = copy.copy(outputs.whole) if isinstance(outputs.whole, Example) else outputs.whole
        if isinstance(whole, Example):
            whole.__dict__["_store"] = dict(whole._store)
        return whole
    made = as_objects(unit, outputs)
    return made[unit.single] if unit.single else Prediction(made)


def readable(unit: Unit, outputs: Mapping[str, Any]) -> bool:
    """Whether outputs that were kept as JSON are, read back, what the program returned."""
    if not isinstance(outputs, Returned):
        return True
    try:
        return _alike(returned(unit, dict(outputs)), outputs.whole)
    except Exception:  # whatever comparing objects of the user raises
        return False


def _alike(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Example):
        return _alike(one._store, other._store)
    if isinstance(one, dict):
        return list(one) == list(other) and all(_alike(v, other[k]) for k, v in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)


def steps_of(unit: Unit, trace: Sequence[TraceStep]) -> list[tuple[str, dict[str, Any], Prediction]]:
    """A trace as metrics get it: (predictor, inputs, prediction), values as Python's objects."""
    out = []
    for step in trace:
        op = unit.module.lookup(step.predictor)
        inputs, made = step.inputs, step.outputs
        if isinstance(op, DefPredictor):
            made = with_objects(made, op.signature.record())
            inputs = fields_as_objects(inputs, op.signature.inputs)
        out.append((step.predictor, inputs, Prediction(made)))
    return out


def fields_as_objects(values: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    """Values by name, with Python's objects in those of `fields` that name a class and fit it."""
    out = dict(values)
    for f in fields:
        if f.name in out and hosts_of(f.type) and mismatch(out[f.name], f.type) is None:
            with contextlib.suppress(RowFailure):
                out[f.name] = with_objects(out[f.name], f.type)
    return out


def called(program: Any, inputs: Sequence[Mapping[str, Any]]) -> tuple[Unit, list[Row]]:
    """A program and its inputs as calls with them would be: what a row says goes before the default of a parameter.

    Raises CompileError, and TypeError for what is no program.
    """
    known = defaults_of(program)
    given = {n: known[n] for row in inputs for n in row if n in known}
    rows = [Row(str(i), {**given, **values}) for i, values in enumerate(inputs)]
    return suited(runnable(program, tuple(given)), program, rows), rows


def suited(unit: Unit, program: Any, rows: Sequence[Row]) -> Unit:
    """The unit to run these rows with: as plain Python where a module returns more than outputs by name can say, and
    where a row lacks an input, holds one that is not what the program says that it takes, or an object that the graph,
    not knowing its class, would show to Python as JSON."""
    func = unit.module.lookup(unit.entry) if unit.dynamic is None else None
    if not isinstance(func, Func):
        return unit
    for row in rows:
        if why := _unfit(func, row) or _goes_on(func, program, row):
            return _plainly(unit, program, why)
    if isinstance(program, Predict | ChainOfThought):
        return unit
    if isinstance(program, Module) and not unit.exact:
        return _plainly(unit, program, f"`{unit.entry}` returns something else than a prediction of plain values")
    if isinstance(program, Module) and (whole := asked_whole(unit, program)) is not unit:
        return whole
    unknown = [a.hint for a in func.body.args if a.type != MEDIA and not hosts_of(a.type)]
    for row in rows:
        for name in unknown:
            if not _is_json(row.inputs.get(name)):
                why = f"input `{name}` of row {row.id} is an object; annotate the parameter with its class"
                return _plainly(unit, program, why)
    return unit


def _unfit(func: Func, row: Row) -> str:
    """Which input of a row is not as the program says, and why; "" if there is none."""
    for arg in func.body.args:
        if arg.hint not in row.inputs:
            return f"row {row.id} has no input `{arg.hint}`"
        if arg.type != ANY and (why := mismatch(plain(row.inputs[arg.hint]), arg.type)):
            return f"input `{arg.hint}` of row {row.id}: {why}"
    return ""


def _goes_on(func: Func, program: Any, row: Row) -> str:
    """Whether a row says by `after` which answer from outside the call goes on from, which no graph holds; "" if not.
    A module is given it if its `forward` takes arguments of any name."""
    after = row.inputs.get("after")
    if after is None or not isinstance(program, Module) or any(a.hint == "after" for a in func.body.args):
        return ""
    asks = isinstance(program, Predict | ChainOfThought)
    taken = asks or (is_answer(after) and open_ended(type(program).forward))
    return f"row {row.id} goes on from an answer (after=)" if taken else ""


def asked_whole(unit: Unit, program: Module) -> Unit:
    """The unit to run where traces and calls count: as plain Python if a graph leaves calls out."""
    if unit.dynamic is None and (lost := left_out(unit)):
        return _plainly(unit, program, f"`{lost[0]}` is asked, but what it answers is not read: a graph leaves it out")
    return unit


def left_out(unit: Unit) -> list[str]:
    """The predictors with calls that a graph leaves out, since nothing reads their answers."""
    from lampc.passes.manager import PassContext, Pipeline

    if not any(op.results and not any(v.uses for v in op.results) for op in unit.module.walk()):
        return []
    kept = unit.module.clone()
    entry = [op for op in kept.body.ops if isinstance(op, Func) and op.symbol == unit.entry]
    Pipeline.parse("inline").run(kept, PassContext(targets={}))
    asked = _asked(entry)
    Pipeline.parse("dce").run(kept, PassContext(targets={}))
    return list((asked - _asked(entry)).elements())


def _asked(functions: Sequence[Func]) -> Counter[str]:
    return Counter(op.predictor.name for f in functions for op in f.walk() if isinstance(op, AskPredictor))


def _plainly(unit: Unit, program: Any, why: str) -> Unit:
    single = "result" if unit.single else ""  # as plain code names a plain value
    note = Diagnostic("L0713", why, severity="note")
    return replace(unit, dynamic=note, host_entry=host_entry(program), single=single)


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    return isinstance(value, str | int | float | None) and not isinstance(value, enum.Enum)


def keeping(unit: Unit, program: Any, given: dict[str, Any]) -> Unit:
    """A unit that runs as plain Python also hands over, by row, what the program returned: its values may be objects,
    which outputs by name cannot hold."""
    if unit.dynamic is None or unit.host_entry is None:
        return unit

    def entry(**inputs: Any) -> dict[str, Any]:
        row = getattr(current_runner.get(), "book").row  # noqa: B009
        given[row] = program(**inputs)
        return {}

    entry.__lampc_place__ = getattr(unit.host_entry, "__lampc_place__", "")  # type: ignore[attr-defined]
    return replace(unit, host_entry=entry)
