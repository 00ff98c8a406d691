"""Value numbering: a hashable key that two ops have in common exactly if they compute the same.

Attributes are compared by their text form, since Python takes 1, 1.0 and True for equal.
"""

from __future__ import annotations

from collections.abc import Hashable

from lampc.ir.content import Key
from lampc.ir.core import Op, Region, Value
from lampc.ir.effects import Trait, is_greedy
from lampc.ir.text import print_attr


def number(op: Op) -> Hashable:
    """The op's key: name, operands, attributes and regions. The random key of greedy calls does not count."""
    return _op(op, {})


def is_deterministic(op: Op) -> bool:
    """Whether the op, with all it contains, has no effect and gives equal results for equal operands."""
    if Trait.SAMPLES in op.traits:
        return is_greedy(op)
    if Trait.CALLS in op.traits:
        own = op.attrs.get("effect", "effect") == "pure"
    else:
        own = Trait.PURE in op.traits or Trait.TERMINATOR in op.traits
    return own and all(is_deterministic(o) for r in op.regions for o in r.ops)


def _op(op: Op, local: dict[Value, int]) -> Hashable:
    ignored = "key" if Trait.SAMPLES in op.traits and is_greedy(op) else ""
    attrs = tuple((n, print_attr(a)) for n, a in sorted(op.attrs.items()) if n != ignored or not isinstance(a, Key))
    operands = tuple(local.get(v, v) for v in op.operands)
    types = tuple(v.type for v in op.results)
    regions = tuple(_region(r, local) for r in op.regions)
    for value in op.results:
        local[value] = len(local)
    return op.op_name, op.symbol, operands, attrs, types, regions


def _region(region: Region, outer: dict[Value, int]) -> Hashable:
    local = dict(outer)
    for arg in region.args:
        local[arg] = len(local)
    types = tuple(a.type for a in region.args)
    return types, tuple(_op(o, local) for o in region.ops)
