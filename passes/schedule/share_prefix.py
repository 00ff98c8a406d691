"""Calls that begin with the same text grow out of the same context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.core import Module
from lampc.ir.kv import Extend, Root
from lampc.ir.prog import Loop, Map
from lampc.ir.rewrite import Rewriter
from lampc.passes.manager import PassContext
from lampc.passes.simplify.cse import merge
from lampc.passes.simplify.hoist import hoist


@dataclass(frozen=True)
class SharePrefix:
    """Equal extensions of one context become one, and those that a loop or map repeats move in front of it.

    A context is a description: it costs nothing until something is generated from it. So extensions may leave a
    map that could have no items; out of branches they are not taken, so that no value is asked for that the
    program does not need. `hoisting` false leaves loops and maps alone.
    """

    name: ClassVar[str] = "share-prefix"
    label: ClassVar[str] = "E"
    hoisting: bool = True

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        rewriter = Rewriter(self.name)
        for op in module.body.ops:
            for region in op.regions:
                if self.hoisting:
                    hoist(region, rewriter, (Loop, Map), lambda op: isinstance(op, Root | Extend), True)
                merge(region, rewriter, (Root, Extend))
        extends = sum(isinstance(op, Extend) for op in module.walk())
        return {"merged": rewriter.events["merged"], "hoisted": rewriter.events["moved"], "extends": extends}
