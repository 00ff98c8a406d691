"""From where to where each context is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.effects import Trait
from lampc.ir.prog import Func, If, Match
from lampc.ir.types import KV
from lampc.passes.manager import PassContext


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Where a context is needed.

    `first` and `last` stand in the region that defines it: a use deeper inside counts for the op around it
    (None: never used). After each of `ends` it is dead on the path that runs through it: these go down into
    branches, but not into loops and maps, whose next iteration needs it again. `fan_out` is the number of
    uses, `escapes` says that a terminator hands it on.
    """

    value: Value
    first: Op | None
    last: Op | None
    ends: tuple[Op, ...]
    fan_out: int
    escapes: bool


def last_uses(func: Op) -> dict[Value, Lifetime]:
    """The lifetime of every context in a function, in program order. Linear in ops and their nesting."""
    out: dict[Value, Lifetime] = {}
    for region in func.regions:
        _region(region, out)
    return out


@dataclass(frozen=True)
class LivenessPass:
    """Counts contexts, forks and the most contexts alive at once; changes nothing."""

    name: ClassVar[str] = "liveness"
    label: ClassVar[str] = "E"
    only_counts: ClassVar[bool] = True

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        found = [last_uses(op) for op in module.body.ops if isinstance(op, Func)]
        lives = [life for table in found for life in table.values()]
        functions = [op for op in module.body.ops if isinstance(op, Func)]
        peaks = [peak(f.body, table) for f, table in zip(functions, found, strict=True)]
        return {
            "contexts": len(lives),
            "forks": sum(life.fan_out > 1 for life in lives),
            "unused": sum(life.last is None for life in lives),
            "most_alive": max(peaks, default=0),
        }


def peak(region: Region, lives: dict[Value, Lifetime]) -> int:
    """The most contexts of this region and those inside that are alive at one time, one iteration of each."""
    alive: set[Value] = {a for a in region.args if a.type == KV}
    most = len(alive)
    for op in region.ops:
        inner = max((peak(r, lives) for r in op.regions), default=0)
        made = {v for v in op.results if v.type == KV}
        most = max(most, len(alive) + inner, len(alive | made))
        alive |= made
        alive -= {v for v in alive if lives[v].last is op or lives[v].last is None}
    return most


def _region(region: Region, out: dict[Value, Lifetime]) -> None:
    place = {op: i for i, op in enumerate(region.ops)}
    for value in region.args:
        if value.type == KV:
            out[value] = _lifetime(value, region, place)
    for op in region.ops:
        for value in op.results:
            if value.type == KV:
                out[value] = _lifetime(value, region, place)
        for nested in op.regions:
            _region(nested, out)


def _lifetime(value: Value, region: Region, place: dict[Op, int]) -> Lifetime:
    uses = sorted({_child_of(region, user) for user in value.users}, key=place.__getitem__)
    ends = tuple(_ends(value, uses[-1])) if uses else ()
    escapes = any(Trait.TERMINATOR in user.traits for user in value.users)
    return Lifetime(value, uses[0] if uses else None, uses[-1] if uses else None, ends, len(value.uses), escapes)


def _child_of(region: Region, op: Op) -> Op:
    """The op of `region` that is or encloses `op`."""
    while op.parent is not region:
        parent = op.parent_op()
        assert parent is not None, "a value is used outside the region that defines it"
        op = parent
    return op


def _ends(value: Value, last: Op) -> Iterator[Op]:
    if value in last.operands or not isinstance(last, If | Match):
        yield last
        return
    for region in last.regions:
        inside = [op for op in region.ops if any(value in o.operands for o in op.walk())]
        if inside:
            yield from _ends(value, inside[-1])
        elif region.ops:
            yield region.ops[0]  # not needed on this path: dead as soon as it is taken
