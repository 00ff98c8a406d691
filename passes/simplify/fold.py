"""What is known before a run is computed before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lampc.ir.attrs import Attr, Obj, freeze, thaw
from lampc.ir.builtins import BuiltinError, apply
from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.prog import Apply, Assert, Const, FieldOf, If, MakeList, Map, Match, Pack
from lampc.ir.rewrite import Rewriter, Rule, rewrite, rule
from lampc.ir.types import mismatch
from lampc.passes.manager import PassContext

_LARGEST = 4096
"""Most items or characters of a value that is computed here; above, the program computes it itself."""


@dataclass(frozen=True)
class Fold:
    """Built-ins of constants, fields of records just packed, branches on constants.

    Nothing is folded that raises: the row that gets there fails, as the program says. Types stay as they
    were, so a value that is narrower than its place is left alone.
    """

    name: ClassVar[str] = "fold"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        events = rewrite(module, RULES, self.name)
        return {"replaced": events["replaced"], "erased": events["erased"]}


@rule(Apply)
def fold_builtin_of_constants(op: Apply, rw: Rewriter) -> bool:
    """apply f (const...) -> const"""
    values = [constant(v) for v in op.args]
    args = [v[0] for v in values if v is not None]
    if len(args) != len(values) or not _is_cheap(op.fn, args):
        return False
    try:
        made = apply(op.fn, [thaw(a) for a in args])
    except BuiltinError:
        return False
    return _to_constant(op, made, rw)


@rule(Apply)
def fold_index_of_made_list(op: Apply, rw: Rewriter) -> bool:
    """index (list a b c) 1 -> b"""
    if op.fn != "index" or len(op.args) != 2:
        return False
    made, at = op.args[0].defining_op(), constant(op.args[1])
    if not isinstance(made, MakeList) or at is None or type(at[0]) is not int:
        return False
    if not -len(made.items) <= at[0] < len(made.items):
        return False
    return _to_value(op, made.items[at[0]], rw)


@rule(Apply)
def fold_length_of_made_list(op: Apply, rw: Rewriter) -> bool:
    """len (list a b c) -> 3"""
    made = op.args[0].defining_op() if op.fn == "len" and op.args else None
    return isinstance(made, MakeList) and _to_constant(op, len(made.items), rw)


@rule(MakeList)
def fold_list_of_constants(op: MakeList, rw: Rewriter) -> bool:
    """list (const...) -> const"""
    values = [constant(v) for v in op.items]
    items = [thaw(v[0]) for v in values if v is not None]
    return len(items) == len(values) and _to_constant(op, items, rw)


@rule(FieldOf)
def fold_field_of_pack(op: FieldOf, rw: Rewriter) -> bool:
    """field (pack a = x) a -> x"""
    made = op.record.defining_op()
    if not isinstance(made, Pack) or made.names.count(op.field) != 1:
        return False
    return _to_value(op, made.values[made.names.index(op.field)], rw)


@rule(FieldOf)
def fold_field_of_constant(op: FieldOf, rw: Rewriter) -> bool:
    """field (const {a: 1}) a -> const 1"""
    known = constant(op.record)
    if known is None or not isinstance(known[0], Obj) or op.field not in known[0]:
        return False
    return _to_constant(op, thaw(known[0][op.field]), rw)


@rule(If)
def fold_if_on_constant(op: If, rw: Rewriter) -> bool:
    """if true a b -> a"""
    known = constant(op.condition)
    if known is None or not isinstance(known[0], bool):
        return False
    return _take(op, op.then if known[0] else op.orelse, rw)


@rule(Match)
def fold_match_on_constant(op: Match, rw: Rewriter) -> bool:
    """match "b" ["a", "b"] x y -> y"""
    known = constant(op.value)
    if known is None:
        return False
    arm = op.cases.index(known[0]) if known[0] in op.cases else len(op.cases)
    if arm < len(op.cases) and type(op.cases[arm]) is not type(known[0]):
        return False  # 1 and True are equal in Python only
    return arm < len(op.arms) and _take(op, op.arms[arm], rw)


@rule(Map)
def fold_map_over_nothing(op: Map, rw: Rewriter) -> bool:
    """map [] -> []"""
    known = constant(op.items)
    return known is not None and known[0] == () and _to_constant(op, [], rw)


@rule(Assert)
def drop_assertion_that_holds(op: Assert, rw: Rewriter) -> bool:
    """assert true -> nothing"""
    known = constant(op.condition)
    if known is None or known[0] is not True:
        return False
    rw.erase(op)
    return True


RULES: tuple[Rule, ...] = (
    fold_builtin_of_constants,
    fold_index_of_made_list,
    fold_length_of_made_list,
    fold_list_of_constants,
    fold_field_of_pack,
    fold_field_of_constant,
    fold_if_on_constant,
    fold_match_on_constant,
    fold_map_over_nothing,
    drop_assertion_that_holds,
)


def constant(value: Value) -> tuple[Attr] | None:
    """The value if it is a constant, in a tuple (it may be None), else None."""
    op = value.defining_op()
    return (op.value,) if isinstance(op, Const) else None


def _to_constant(op: Op, value: Any, rw: Rewriter) -> bool:
    """Put a constant in the place of `op`, if it is of the op's type and small."""
    wanted = op.results[0].type
    if mismatch(value, wanted) is not None or not _is_small(value):
        return False
    rw.replace(op, Const.make(value=freeze(value), type=wanted, loc=op.loc))
    return True


def _to_value(op: Op, value: Value, rw: Rewriter) -> bool:
    """Let `value` stand for the result of `op`, if it is of the very same type."""
    if value.type != op.results[0].type:
        return False
    rw.replace(op, [value])
    return True


def _take(op: Op, region: Region, rw: Rewriter) -> bool:
    """Put the ops of one branch in the place of the branching op."""
    end = region.terminator
    if end is None or [v.type for v in end.operands] != [v.type for v in op.results]:
        return False
    rw.replace(op, rw.inline_region(region, op, ()))
    return True


def _is_small(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isnan(value)
    if isinstance(value, str):
        return len(value) <= _LARGEST
    if isinstance(value, int):
        return abs(value) < 1 << 256
    if isinstance(value, list):
        return len(value) <= _LARGEST and all(map(_is_small, value))
    return not isinstance(value, dict) or all(map(_is_small, value.values()))


def _is_cheap(fn: str, args: Sequence[Attr]) -> bool:
    """Whether a built-in surely takes little time and memory for these constants."""
    if fn not in ("mul", "pow", "range"):
        return True
    return all(isinstance(a, float) or (isinstance(a, int) and abs(a) <= _LARGEST) for a in args)
