"""Samples of a vote that can no longer change it need not be finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.core import Module, Op, Value
from lampc.ir.effects import is_droppable
from lampc.ir.prog import FieldOf, Map, Vote
from lampc.passes.manager import PassContext


@dataclass(frozen=True)
class StopVotes:
    """A map whose items are only voted over is told so (`decides`): it may end once the vote is decided.

    Exact for the vote's value: every item that is left out has its own random key, so the others are what they would
    have been, and no completion of the list would have another winner. The items that are left out differ from run to
    run, so nothing else may look at them; a row does not fail any more by a sample that nobody waits for.
    """

    name: ClassVar[str] = "stop-votes"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        found = [(op, field) for op in module.walk() if isinstance(op, Map) and (field := voted(op))]
        for op, field in found:
            op.attrs["decides"] = field
        return {"votes": len(found)}


def voted(op: Map) -> str:
    """The field over which the items of a map are voted, `.` for the items themselves; empty if that is not all that
    happens to them, or if its region has effects or filters."""
    end = op.body.terminator
    if end is None or len(end.operands) != 1 or not all(is_droppable(o) for o in op.body.ops if o is not end):
        return ""
    user = _only_user(op.results[0])
    if isinstance(user, Vote):
        return "."
    if isinstance(user, FieldOf) and isinstance(_only_user(user.results[0]), Vote):
        return user.field
    return ""


def _only_user(value: Value) -> Op | None:
    return value.users[0] if len(value.users) == 1 else None
