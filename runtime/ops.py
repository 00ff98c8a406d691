"""What ops without effect compute, shared by the reference interpreter and the executor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lampc.ir import Assignment, Op, thaw
from lampc.ir.builtins import BuiltinError, apply
from lampc.ir.core import Module
from lampc.ir.prog import Apply, Argmax, Const, DefTune, FieldOf, MakeList, Pack, Tune, Vote
from lampc.runtime.failures import RowFailure
from lampc.runtime.hosts import majority


def compute(op: Op, args: Sequence[Any], module: Module, assignment: Assignment) -> Any:
    """The result of a pure single-result op on plain values. Raises RowFailure, placed at `op`.

    Raises TypeError for ops that are not of this kind.
    """
    try:
        match op:
            case Const():
                return thaw(op.value)
            case FieldOf():
                return field(args[0], op.field)
            case Pack():
                return dict(zip(op.names, args, strict=True))
            case MakeList():
                return list(args)
            case Apply():
                return apply(op.fn, args)
            case Vote():
                return majority(args[0])
            case Argmax():
                if not args[0]:
                    raise RowFailure("argmax needs at least one item")
                return max(range(len(args[0])), key=lambda i: (args[0][i], -i))
            case Tune():
                definition = module.lookup(op.of.name)
                default = definition.default if isinstance(definition, DefTune) else None
                return thaw(assignment.get(op.of.name, default))
    except BuiltinError as e:
        raise RowFailure(str(e), op) from None
    except RowFailure as e:
        raise e.at(op) from None
    raise TypeError(f"{op.op_name} is not computed from values alone")


def items_of(value: Any) -> Sequence[Any]:
    """What a map goes over: of a dict its names, as in Python. Raises RowFailure."""
    if isinstance(value, dict):
        return list(value)
    if isinstance(value, list | tuple | str):
        return value
    raise RowFailure(f"{str(value)[:80]} is nothing to go over")


def field(value: Any, name: str) -> Any:
    """Field of a record, or the column of a list of records. Raises RowFailure."""
    if isinstance(value, list):
        return [field(v, name) for v in value]
    if isinstance(value, dict) and name in value:
        return value[name]
    raise RowFailure(f"no field `{name}` in {str(value)[:80]}")
