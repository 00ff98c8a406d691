"""Branches that hang on what a model answers may be begun before it has answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.core import Module, Op, Region, Value, walk_values
from lampc.ir.effects import Trait, is_droppable
from lampc.ir.prog import If, Match
from lampc.passes.manager import PassContext
from lampc.passes.schedule.joining import falls_back


@dataclass(frozen=True)
class Speculate:
    """Arms of `if` and `match` that ask a model, while another call decides whether they are taken, are told so
    (`ahead`): an executor with nothing better to do may begin them. Begun arms have no effects and need nothing of the
    answer that decides, but for the value that a case stands for.

    Not the calls that a joint one falls back on: those are seldom wanted.

    Exact for the values: draws hang on call sites and not on when a call is made, and of an arm that is not taken
    nothing stays. (Speculative execution of branches as processors do it; for agents: Ye et al. 2025, "Speculative
    Actions", arXiv:2510.04371.)
    """

    name: ClassVar[str] = "speculate"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        count = 0
        for op in module.walk():
            if isinstance(op, If | Match) and not falls_back(op, module) and (arms := foreseeable(op)):
                op.ahead = arms
                count += len(arms)
        return {"arms": count}


def foreseeable(op: If | Match) -> tuple[int, ...]:
    """The arms of a branch that may be begun before its operand is known, and are worth it."""
    deciders = {o for o in reaching([op.operands[0]], op.parent) if _asks(o)}
    if not deciders:
        return ()
    return tuple(i for i, arm in enumerate(op.regions) if _asks_alone(op, i, arm, deciders))


def _asks_alone(op: If | Match, i: int, arm: Region, deciders: set[Op]) -> bool:
    *body, end = arm.ops
    if Trait.TERMINATOR not in end.traits or not all(is_droppable(o) for o in body) or not any(map(_asks, body)):
        return False
    needs = outer(arm) - ({op.operands[0]} if case_value(op, i) is not None else set())
    return not deciders & reaching(needs, op.parent)


def case_value(op: If | Match, i: int) -> str | None:
    """What the operand is wherever arm `i` is taken, if that is a text: equal texts are one value."""
    if isinstance(op, Match) and i < len(op.cases):
        case = op.cases[i]
        return case if isinstance(case, str) else None
    return None


def outer(region: Region) -> set[Value]:
    """Values from outside that a region uses."""
    return {v for o in region.walk() for v in o.operands} - set(walk_values(region))


def reaching(values: Iterable[Value], region: Region | None) -> set[Op]:
    """Ops of a region that values hang on."""
    found: set[Op] = set()
    todo = list(values)
    while todo:
        op = todo.pop().defining_op()
        if op is not None and op.parent is region and op not in found:
            found.add(op)
            todo += op.operands
            todo += [v for r in op.regions for v in outer(r)]
    return found


def _asks(op: Op) -> bool:
    return any(Trait.SAMPLES in o.traits for o in op.walk())
