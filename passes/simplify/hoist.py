"""Work that is the same in every iteration is done before the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.core import Module, Op, Region
from lampc.ir.effects import Trait, is_droppable
from lampc.ir.prog import Loop, Map
from lampc.ir.rewrite import Rewriter
from lampc.passes.manager import PassContext
from lampc.passes.simplify.numbering import is_deterministic


@dataclass(frozen=True)
class Hoist:
    """Ops of a loop's body that depend on nothing inside move in front of the loop, LM calls if greedy.

    A `prog.loop` runs at least once, so nothing is run that would not have been. A map may have no items and a
    branch may not be taken: out of those nothing is moved. An op after an effect or an assertion stays.
    """

    name: ClassVar[str] = "hoist"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        rewriter = Rewriter(self.name)
        for op in module.body.ops:
            for region in op.regions:
                hoist(region, rewriter, (Loop,), lambda op: is_deterministic(op) and is_droppable(op), False)
        return {"hoisted": rewriter.events["moved"]}


def hoist(
    region: Region, rewriter: Rewriter, over: tuple[type[Op], ...], movable: Callable[[Op], bool], past_effects: bool
) -> None:
    """Move what is `movable` and invariant out of ops of the classes `over`, the innermost first.

    `past_effects` says that it may also pass ops that have effects or may fail the row.
    """
    for op in list(region.ops):
        for nested in op.regions:
            hoist(nested, rewriter, over, movable, past_effects)
        if isinstance(op, over) and isinstance(op, Loop | Map):
            _out_of(op, op.body, rewriter, movable, past_effects)


def _out_of(loop: Op, body: Region, rewriter: Rewriter, movable: Callable[[Op], bool], past_effects: bool) -> None:
    inside = set(body.args)
    for op in list(body.ops):
        if Trait.TERMINATOR in op.traits:
            break
        if movable(op) and inside.isdisjoint(v for o in op.walk() for v in o.operands):
            rewriter.move_before(op, loop)
            continue
        inside.update(op.results)
        if not past_effects and not is_droppable(op):
            break
