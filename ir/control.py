"""Structured control flow of `prog.*`: maps, loops, branches, and how their regions end."""

from __future__ import annotations

from lampc.ir.attrs import Attr
from lampc.ir.core import Op
from lampc.ir.define import Bodies, Body, Operand, Operands, Result, Results, op
from lampc.ir.effects import Trait, is_droppable
from lampc.ir.types import ANY, BOOL, INT, STR, Choice, ListOf, Maybe, Type, assignable, join


@op("prog.map", traits=[Trait.PURE])
class Map(Op):
    """Run the region for every item, in any order. Region arguments: the item, its index.

    The region ends in `prog.yield(value)` or, to filter, `prog.yield(value, keep)`. Calls inside are
    keyed by the index, so the result does not depend on the order. Pure itself; its body may not be.

    With `decides` the values are only voted over, by that field of each (`.`: themselves): those that can no longer
    change which is the most frequent may be missing. With `streams` the items are that output of an answer, and may be
    begun with as soon as they stand there, while the answer is still being written (pass `stream-lists`).
    """

    decides: str = ""
    streams: str = ""
    items: Operand
    body: Body
    out: Result

    def infer(self) -> tuple[Type, ...] | None:
        end = self.body.terminator
        return (ListOf(end.operands[0].type),) if end and end.operands else None

    def check(self) -> list[str]:
        end = self.body.terminator
        if not isinstance(end, Yield) or len(end.values) not in (1, 2):
            return ["the region of a map ends with `prog.yield` of a value and perhaps a keep flag"]
        if len(self.body.args) != 2:
            return ["the region of a map takes the item and its index"]
        return []


@op("prog.loop", traits=[Trait.PURE])
class Loop(Op):
    """Run the region at least once and at most `max` times, carrying values.

    Region arguments: the carried values, then the iteration's index. The region ends in
    `prog.next(stop, carried..., visible...)`; results are the carried values, then the visible ones, as
    of the last iteration.
    """

    max: int
    init: Operands
    body: Body
    outs: Results

    def infer(self) -> tuple[Type, ...] | None:
        end = self.body.terminator
        return tuple(v.type for v in end.operands[1:]) if end and end.operands else None

    def check(self) -> list[str]:
        end = self.body.terminator
        if not isinstance(end, Next):
            return ["the region of a loop ends with `prog.next`"]
        found = []
        if self.max < 1:
            found.append("`max` is at least 1")
        if len(self.body.args) != len(self.init) + 1:
            found.append("the region of a loop takes the carried values and the index")
        elif len(end.values) < len(self.init):
            found.append(f"{len(self.init)} values are carried, {len(end.values)} passed on")
        else:
            found += [
                f"carried value {i} is {arg.type}, got {v.type}"
                for i, (arg, v) in enumerate(zip(self.body.args, end.values, strict=False))
                if i < len(self.init) and not assignable(v.type, arg.type)
            ]
        return found


@op("prog.if", traits=[Trait.PURE])
class If(Op):
    """Run one of two regions; each ends in `prog.yield` of as many values as there are results.

    Regions in `ahead` (by place) may be begun before the condition is known: they have no effects, and nothing is seen
    of one that is not taken.
    """

    ahead: tuple[int, ...] = ()
    condition: Operand
    then: Body
    orelse: Body
    outs: Results

    def infer(self) -> tuple[Type, ...] | None:
        return _joined(self)

    def check(self) -> list[str]:
        return _arms(self)


@op("prog.match", traits=[Trait.PURE])
class Match(Op):
    """Run the region whose case equals the value; with one region more than cases, the last is the default.

    `ahead` as in `prog.if`.
    """

    value: Operand
    cases: tuple[Attr, ...]
    ahead: tuple[int, ...] = ()
    arms: Bodies
    outs: Results

    def infer(self) -> tuple[Type, ...] | None:
        return _joined(self)

    def check(self) -> list[str]:
        found = _arms(self)
        if len(self.arms) not in (len(self.cases), len(self.cases) + 1):
            found.append(f"{len(self.cases)} cases, {len(self.arms)} regions")
        t = self.value.type
        if isinstance(t, Choice) and len(self.arms) == len(self.cases):
            found += [f"case {o!r} is not handled" for o in t.options if o not in self.cases]
        return found


@op("prog.try", traits=[Trait.PURE])
class Try(Op):
    """Run the region; what fails in it does not fail the row.

    The region takes no arguments and ends in `prog.yield`. Results: the values yielded, each null if the region
    failed, then the message of the failure that stands first in program order, null if there was none.
    """

    body: Body
    outs: Results

    def infer(self) -> tuple[Type, ...] | None:
        end = self.body.terminator
        return (*(v.type for v in end.operands), Maybe(STR)) if end else None

    def check(self) -> list[str]:
        if not isinstance(self.body.terminator, Yield):
            return ["the region of a try ends with `prog.yield`"]
        return ["the region of a try takes no arguments"] if self.body.args else []


@op("prog.vote", traits=[Trait.PURE])
class Vote(Op):
    """The most frequent item of a list; the earliest of those that tie."""

    items: Operand
    out: Result

    def infer(self) -> tuple[Type, ...]:
        t = self.items.type
        return (t.item if isinstance(t, ListOf) else ANY,)


@op("prog.argmax", traits=[Trait.PURE])
class Argmax(Op):
    """Index of the largest item of a list; the earliest of those that tie."""

    items: Operand
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (INT,)


@op("prog.assert", traits=[])
class Assert(Op):
    """Fail the row with `message` if the condition does not hold."""

    message: str = "assertion failed"
    condition: Operand


@op("prog.return", traits=[Trait.TERMINATOR])
class Return(Op):
    """Give back the value of the function."""

    value: Operand


@op("prog.yield", traits=[Trait.TERMINATOR])
class Yield(Op):
    """Give values to the enclosing op."""

    values: Operands


@op("prog.next", traits=[Trait.TERMINATOR])
class Next(Op):
    """End an iteration: whether to stop, the carried values, the values visible after the loop."""

    stop: Operand
    values: Operands

    def check(self) -> list[str]:
        return [] if self.stop.type in (BOOL, ANY) else ["`stop` is a bool"]


def _joined(op: Op) -> tuple[Type, ...] | None:
    ends = [r.terminator for r in op.regions]
    if any(e is None for e in ends):
        return None
    columns = zip(*([v.type for v in e.operands] for e in ends if e is not None), strict=False)
    return tuple(join(list(c)) for c in columns)


def _arms(op: Op) -> list[str]:
    found = []
    for i, region in enumerate(op.regions):
        end = region.terminator
        if not isinstance(end, Yield):
            found.append(f"region {i} ends with `prog.yield`")
        elif len(end.values) != len(op.results):
            found.append(f"region {i} yields {len(end.values)} values, {len(op.results)} are wanted")
        if region.args:
            found.append(f"region {i} takes no arguments")
    return found + _begun(op)


def _begun(op: Op) -> list[str]:
    """What is wrong with the regions that may be begun before it is known whether they are taken."""
    found = []
    for i in op.ahead:  # type: ignore[attr-defined]
        if not 0 <= i < len(op.regions):
            found.append(f"`ahead` names region {i}, there are {len(op.regions)}")
            continue
        effect = next((o for o in op.regions[i].ops[:-1] if not is_droppable(o)), None)
        if effect is not None:
            found.append(f"region {i} may not be begun ahead: it holds {effect.op_name}, which has effects")
    return found
