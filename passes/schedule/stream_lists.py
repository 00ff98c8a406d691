"""Whoever goes through a list begins while the list is still being written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.core import Module, Op, Value, walk_values
from lampc.ir.effects import is_droppable
from lampc.ir.kv import Generate
from lampc.ir.prog import FieldOf, Map
from lampc.ir.requests import Parse
from lampc.ir.types import ListOf, Scalar
from lampc.passes.manager import PassContext


@dataclass(frozen=True)
class StreamLists:
    """A map over a list of an answer is told so (`streams`), if nothing else that it needs hangs on that answer: its
    first items may be begun with while the model writes the next ones.

    Exact: every item has its own random key, wherever it is begun; one that the whole answer, once it is read, does not
    have at this place is dropped and begun anew. So what the map does must leave no trace: it has no effects.
    """

    name: ClassVar[str] = "stream-lists"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        found = [(op, field) for op in module.walk() if isinstance(op, Map) and (field := streamed(op))]
        for op, field in found:
            op.attrs["streams"] = field
        return {"maps": len(found)}


def streamed(op: Map) -> str:
    """The output that a map goes through as it is written; empty if there is none, or it cannot."""
    source = op.items.defining_op()
    if op.decides or not isinstance(source, FieldOf) or not isinstance(source.result.type, ListOf):
        return ""
    parse = source.record.defining_op()
    generate = parse.text.defining_op() if isinstance(parse, Parse) else None
    if not isinstance(generate, Generate) or len({o.parent for o in (op, source, generate)}) > 1:
        return ""
    item, end = source.result.type.item, op.body.terminator
    plain = isinstance(item, Scalar) and item.kind in ("str", "int", "bool")
    if not plain or not all(is_droppable(o) for o in op.body.ops if o is not end):
        return ""
    inside = set(walk_values(op.body))
    needs = {v for o in op.body.walk() for v in o.operands} - inside
    return "" if any(_hangs_on(v, generate) for v in needs) else source.field


def _hangs_on(value: Value, op: Op) -> bool:
    """Whether a value cannot be there before an op has its results."""
    seen: set[Value] = set()
    todo = [value]
    while todo:
        value = todo.pop()
        below = value.defining_op()
        if value in seen or below is None:
            continue
        seen.add(value)
        if below is op:
            return True
        todo += [v for o in below.walk() for v in o.operands]
    return False
