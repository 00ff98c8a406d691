"""How much hangs on a call: the longest chain of calls that it begins."""

from __future__ import annotations

from lampc.ir.core import Op, Region, Value
from lampc.ir.kv import Generate, Score
from lampc.ir.prog import Loop, Predict
from lampc.ir.requests import RequestOp

CALLS = (Generate, Score, RequestOp, Predict)


def calls_left(func: Op) -> dict[Op, int]:
    """For each op of a function that calls a model: the calls on the longest path from it to the function's end, it
    among them.

    Of a loop that is under way one more iteration is expected, of a branch the longer arm, of a map the longest item.
    Linear in ops and their nesting.
    """
    out: dict[Op, int] = {}
    for region in func.regions:
        _region(region, 0, out)
    return out


def _region(region: Region, after: int, out: dict[Op, int]) -> int:
    """Fills in all ops of a region behind which `after` calls follow; its longest path."""
    users: dict[Value, list[Op]] = {}
    for op in region.ops:
        used = op.operands if not op.regions else [v for o in op.walk() for v in o.operands]
        for value in dict.fromkeys(used):
            users.setdefault(value, []).append(op)
    path: dict[Op, int] = {}
    for op in reversed(region.ops):
        behind = max([path[user] for value in op.results for user in users.get(value, ())], default=0)
        own = int(isinstance(op, CALLS))
        for inner in op.regions:
            again = _region(inner, 0, {}) if isinstance(op, Loop) else 0
            own = max(own, _region(inner, behind + after + again, out))
        path[op] = own + behind
        if isinstance(op, CALLS):
            out[op] = path[op] + after
    return max(path.values(), default=0)
