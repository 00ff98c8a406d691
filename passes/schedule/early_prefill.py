"""What a prompt begins with is computed while the rest of it is on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.kv import Extend, Generate
from lampc.ir.prog import Py, Retrieve, Tool
from lampc.ir.requests import RequestOp
from lampc.passes.manager import PassContext


@dataclass(frozen=True)
class EarlyPrefill:
    """Generations whose context begins before what has to be waited for (a tool, passages, an answer) are marked
    `early`: the executor may have the beginning computed meanwhile.

    Exact: a request that comes later has all its tokens, and finds some of them computed. It is no speculation either:
    marked are only generations in the same region as what they wait for, which are asked for unless the row fails.
    """

    name: ClassVar[str] = "early-prefill"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        regions = [r for op in module.walk() for r in op.regions]
        return {"generations": sum(_mark(region) for region in regions)}


def _mark(region: Region) -> int:
    late: set[Value] = set()  # what has to be waited for, and what hangs on it
    count = 0
    for op in region.ops:
        if isinstance(op, Generate) and _begins_before(op, late):
            op.attrs["early"] = True
            count += 1
        parts = list(op.walk()) if op.regions else [op]
        if any(map(_waits, parts)) or not all(late.isdisjoint(o.operands) for o in parts):
            late.update(op.results)
    return count


def _begins_before(op: Generate, late: set[Value]) -> bool:
    """Whether the context of a generation is late, and begins with one that is not."""
    if op.context not in late:
        return False
    value = op.context
    while value in late:
        below = value.defining_op()
        if not isinstance(below, Extend):
            return False
        value = below.context
    return True


def _waits(op: Op) -> bool:
    return isinstance(op, Tool | Py | Retrieve | Generate | RequestOp)
