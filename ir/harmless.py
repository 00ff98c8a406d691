"""Ops that may be run where their value might not be wanted: they cost nothing and cannot fail.

Both frontends ask here before they turn a branch that yields a truth value into `and` or `or`.
"""

from __future__ import annotations

from collections.abc import Sequence

from lampc.ir.core import Op
from lampc.ir.prog import Apply, Const, FieldOf, Tune
from lampc.ir.types import BOOL, FLOAT, INT, STR, Choice, ListOf, Record, Type

_TOTAL = frozenset({"eq", "ne", "not", "and", "or", "concat", "str", "pystr", "bool"})
"""Built-in functions that cannot fail whatever they are given."""
_OF_NUMBERS = frozenset({"lt", "le", "gt", "ge", "add", "sub", "mul"})
_OF_TEXTS = frozenset({"lower", "upper", "strip", "startswith", "endswith", "normalize"})


def harmless(op: Op) -> bool:
    """Whether an op has no effect and no cost and cannot fail."""
    match op:
        case Const() | Tune():
            return True
        case FieldOf():
            return isinstance(op.record.type, Record)
        case Apply():
            return cannot_fail(op.fn, [v.type for v in op.args])
    return False


def cannot_fail(fn: str, types: Sequence[Type]) -> bool:
    """Whether the built-in function `fn` gives a value for all operands of these types."""
    if fn in _TOTAL:
        return True
    if fn in _OF_NUMBERS:
        return all(t in (INT, FLOAT, BOOL) for t in types)
    if fn in _OF_TEXTS:
        return all(map(_is_text, types))
    if fn == "in":
        return all(isinstance(t, ListOf) for t in types[1:]) or all(map(_is_text, types))
    return fn == "len" and all(isinstance(t, ListOf) or _is_text(t) for t in types)


def _is_text(t: Type) -> bool:
    return t == STR or isinstance(t, Choice)
