"""Which values of a graph are, as JSON, what the program has in Python: no tuple, object or prediction among them.

A walk over the ops that a value comes from; where those do not say, the answer is no.
"""

from __future__ import annotations

from typing import Any

from lampc.frontend.python.declare import returns_of
from lampc.frontend.python.example import Prediction
from lampc.frontend.python.traced import Traced
from lampc.ir import Value, prog
from lampc.ir.hostvalues import has_hosts
from lampc.ir.types import ANY, ListOf, MapOf, Maybe, Record, Type

_PAIRS = frozenset({"zip", "enumerate", "items"})
"""Built-ins whose items are tuples in Python."""


def predicted(context: Any, value: Any) -> bool:
    """Whether what a function returns is a `Prediction` whose fields JSON can hold, and nothing more."""
    if isinstance(value, Traced):
        return _predicted(context, value.value)
    return type(value) is Prediction and is_json(value.toDict())


def _predicted(context: Any, value: Value) -> bool:
    if not isinstance(value.type, Record) or value.type.host:
        return False
    match value.defining_op():
        case prog.Pack() as op:
            return context.classes.get(value.serial) is Prediction and all(kept(context, v) for v in op.values)
        case prog.Call() as op:
            return bool(context.exact.get(op.callee.name))
        case prog.If() | prog.Match() | prog.Try() as op:
            return all(_predicted(context, v) for v in _yielded(op, value))
    return True


def kept(context: Any, value: Value, seen: frozenset[int] = frozenset()) -> bool:
    """Whether JSON holds this value as Python has it."""
    if value.serial in context.changed:
        return False
    if value.serial in seen or not _may_differ(value.type):
        return True

    def all_kept(values: Any) -> bool:
        return all(kept(context, v, seen | {value.serial}) for v in values)

    match value.defining_op():
        case prog.Const() | prog.Tune():
            return True
        case prog.Tool() as op:  # what a function returns that does not say so may be any object
            returns = returns_of(context.used[op.tool.name].func)
            return not _open(returns) and not has_hosts(returns)
        case prog.FieldOf() as op:
            match op.record.defining_op():
                case prog.Predict():
                    return True
                case prog.Pack() as packed:
                    return all_kept([packed.values[packed.names.index(op.field)]])
            return _predicted(context, op.record) if isinstance(op.record.type, Record) else all_kept([op.record])
        case prog.Pack() as op:
            return value.serial not in context.classes and all_kept(op.values)
        case prog.MakeList() | prog.Vote() as op:
            return all_kept(op.operands)
        case prog.Apply() as op:
            return op.fn not in _PAIRS and all_kept(op.args)
        case prog.If() | prog.Match() | prog.Try() | prog.Map() as op:
            return all_kept(_yielded(op, value))
        case prog.Loop() as op:
            passed = op.body.terminator
            return passed is not None and all_kept(
                [*op.init[value.index : value.index + 1], passed.operands[1 + value.index]]
            )
        case prog.Py() as op:
            if op.ref.target.startswith(("builtins:", "operator:")):
                return not op.ref.target.endswith(("partition", "divmod")) and all_kept(op.args)
            return not has_records(value.type) and not _open(value.type)
    return not has_records(value.type)


def _yielded(op: Any, value: Value) -> list[Value]:
    """What regions give for a result of their op; a region that fails the row gives nothing that matters."""
    ends = [r.terminator for r in op.regions]
    return [e.operands[value.index] for e in ends if e is not None and value.index < len(e.operands)]


def is_json(value: Any) -> bool:
    """Whether a known value is of JSON's own types."""
    if type(value) is list:
        return all(map(is_json, value))
    if type(value) is dict:
        return all(type(k) is str and is_json(v) for k, v in value.items())
    return value is None or type(value) in (str, int, float, bool)


def _may_differ(t: Type) -> bool:
    return t == ANY or isinstance(t, ListOf | MapOf) or has_records(t) or (isinstance(t, Maybe) and _may_differ(t.item))


def has_records(t: Type) -> bool:
    """Whether a type has records that stand for no class: dicts, or predictions."""
    if isinstance(t, Record):
        return not t.host
    return isinstance(t, ListOf | MapOf | Maybe) and has_records(t.item)


def _open(t: Type) -> bool:
    return t == ANY or (isinstance(t, ListOf | MapOf | Maybe) and _open(t.item))
