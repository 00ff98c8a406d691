"""Equal work is done once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.core import Module, Op, Region
from lampc.ir.effects import Trait, is_mergeable
from lampc.ir.rewrite import Rewriter
from lampc.passes.manager import PassContext
from lampc.passes.simplify.numbering import is_deterministic, number


@dataclass(frozen=True)
class Cse:
    """An op equal to one that has surely run before it gives way to that one.

    Equal means: same name, operands, attributes and regions. LM calls merge if they are greedy (their random
    key then does not count); two draws stay two draws. What is computed in one branch is not visible in the
    other, nor after it.
    """

    name: ClassVar[str] = "cse"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        rewriter = Rewriter(self.name)
        calls = 0
        for op in module.body.ops:
            for region in op.regions:
                calls += merge(region, rewriter)
        return {"merged": rewriter.events["merged"], "calls": calls}


def merge(region: Region, rewriter: Rewriter, wanted: tuple[type[Op], ...] = (Op,)) -> int:
    """Merge equal ops of the classes `wanted` in a region and those nested in it; gives the LM calls saved."""
    return _merge(region, {}, {}, set(), rewriter, wanted)


def _merge(
    region: Region,
    seen: dict[Hashable, Op],
    first: dict[Hashable, Op],
    numbered: set[Op],
    rewriter: Rewriter,
    wanted: tuple[type[Op], ...],
) -> int:
    """`seen` has ops by number, `first` by name and operands: most ops are alone there, and need no number; those of
    them that have one are `numbered`."""
    seen, first, numbered = dict(seen), dict(first), set(numbered)
    calls = 0
    for op in list(region.ops):
        for nested in op.regions:
            calls += _merge(nested, seen, first, numbered, rewriter, wanted)
        if not isinstance(op, wanted) or not op.results or Trait.TERMINATOR in op.traits:
            continue
        earliest = first.setdefault((op.op_name, *op.operands), op)
        if earliest is op:
            continue
        if earliest not in numbered:
            numbered.add(earliest)
            seen.setdefault(number(earliest), earliest)
        key = number(op)
        kept = seen.setdefault(key, op)
        if kept is op:
            continue
        if is_mergeable(kept, op) or (is_deterministic(kept) and is_deterministic(op)):
            calls += sum(Trait.SAMPLES in o.traits for o in op.walk())
            rewriter.merge(kept, op)
        else:
            seen[key] = kept
    return calls
