"""How much of the context of each call later calls of the same row go on from, and until when.

A later call is one of a later iteration of a loop, of another item of a map, or one further down. Contexts are compared
run by run and segment by segment: what two calls have in common ends at the first input that differs. An input may also
grow, as a list does that a loop adds to: then what it was is the beginning of what it is. Where a value comes from a
function that nobody can see through, it is taken to grow: too much is kept then, never too little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from lampc.ir.core import Op, Region, Value
from lampc.ir.kv import Extend, Generate, Root, Score
from lampc.ir.prog import Apply, Call, Loop, Map, Predict, Retrieve, Tool
from lampc.ir.prompt import Input
from lampc.ir.requests import Parse, RequestOp
from lampc.passes.schedule.common_contexts import CommonContexts, segments_of

ASKS = (Generate, Score, Parse, RequestOp, Predict, Call, Retrieve, Tool)
"""Ops whose results are new each time."""


class Relation(IntEnum):
    """What a value is to itself, or to another, at the later call."""

    DIFFERS = 0
    GROWS = 1
    SAME = 2


@dataclass(frozen=True, slots=True)
class Stay:
    """Until op `until` has ended (the row, if None), `runs` runs of the context are needed, and `segments` segments of
    the run after them; if `answer`, all of it and what the model wrote."""

    until: Op | None
    runs: int
    segments: int = 0
    answer: bool = False

    @property
    def place(self) -> tuple[bool, int, int]:
        """The further, the larger."""
        return self.answer, self.runs, self.segments


def later_uses(func: Op) -> dict[Op, tuple[Stay, ...]]:
    """For each `kv.generate` and `kv.score` of a function what later calls need of it: the one that ends first, first;
    each later one needs less. Empty where no call goes on from it."""
    calls: list[Op] = [op for region in func.regions for op in _walk(region) if isinstance(op, Generate | Score)]
    chains = {op: chain(op) for op in calls}
    common = CommonContexts(func, chains)
    return {op: _stays(op, chains, func, common) for op in calls}


def chain(call: Op) -> tuple[Op | Value, ...]:
    """What a call's context grows by, from its root on: the root (an op, or the argument of a region), then ops."""
    value: Value = call.operands[0]
    found: list[Op | Value] = []
    while True:
        op = value.defining_op()
        if not isinstance(op, Extend | Generate):
            return (op if isinstance(op, Root) else value, *reversed(found))
        found.append(op)
        value = op.context


def static_runs(call: Op) -> int:
    """How many runs at the front of a call's context hang on no input."""
    root, *grown = chain(call)
    count = 0
    for op in grown if isinstance(root, Root) else ():
        if not isinstance(op, Extend) or op.inputs:
            break
        count += 1
    return count


def first_input(call: Op) -> Value | None:
    """The first value in a call's context that is not the same for all rows; None if there is none."""
    for op in chain(call)[1:]:
        if isinstance(op, Extend) and op.inputs:
            return next((op.inputs[s.index] for s in segments_of(op.run) if isinstance(s, Input)), op.inputs[0])
        if isinstance(op, Generate):
            return op.text
    return None


# -- inside -------------------------------------------------------------------------------------------------


def _stays(
    call: Op, chains: dict[Op, tuple[Op | Value, ...]], func: Op, common: CommonContexts | None
) -> tuple[Stay, ...]:
    """Without `common` all pairs of calls are compared."""
    found: list[Stay] = []
    inner: Op = call
    bodies, pairs = _bodies(chains[call]), common is None
    while inner is not func:
        region = inner.parent
        assert region is not None
        pairs = pairs or any(r in bodies for r in inner.regions)
        if common is not None and not pairs:
            found += reversed([Stay(*stay) for stay in common.after(call, inner)])
        else:
            for op in region.ops[region.index(inner) + 1 :]:
                for later in [op, *(o for r in op.regions for o in _walk(r))]:
                    if later in chains:
                        _add(found, op, _common(chains[call], chains[later], call, None))
        around = region.parent
        assert around is not None
        if isinstance(around, Loop | Map):
            for later in [o for r in around.regions for o in _walk(r) if o in chains]:
                _add(found, around, _common(chains[call], chains[later], call, around))
        inner = around
    best: list[Stay] = []
    found = [stay for stay in found if stay.answer or _has_inputs(call, stay)]
    for stay in reversed(found):  # of all that end later the furthest counts
        if not best or stay.place > best[-1].place:
            best.append(stay)
    return tuple(reversed(best))


def _bodies(ours: Sequence[Op | Value]) -> list[Region]:
    """Loops' bodies whose arguments a context has: after such a loop its results are what the arguments were."""
    inputs = [v for op in ours if isinstance(op, Extend) for v in op.inputs]
    owners = {id(v.owner): v.owner for v in inputs if isinstance(v.owner, Region)}
    return [r for r in owners.values() if isinstance(r.parent, Loop)]


def _has_inputs(call: Op, stay: Stay) -> bool:
    """Whether what is needed hangs on any input: what does not is that of every row."""
    root, *ops = chain(call)
    grown = [op for op in ops if isinstance(op, Extend)]
    if isinstance(root, Value) or len(grown) < len(ops) or any(op.inputs for op in grown[: stay.runs]):
        return True
    return stay.runs < len(grown) and any(
        isinstance(s, Input) for s in segments_of(grown[stay.runs].run)[: stay.segments]
    )


def _add(found: list[Stay], until: Op, common: tuple[int, int, bool] | None) -> None:
    if common is not None and (common[2] or common[:2] > (0, 0)):
        found.append(Stay(until, *common))


def _common(
    ours: Sequence[Op | Value], theirs: Sequence[Op | Value], call: Op, around: Op | None
) -> tuple[int, int, bool] | None:
    """(runs, segments, answer) that the context of a later call has in common with ours."""
    mine, other = ours[0], theirs[0]
    if isinstance(other, Value) and around is not None and isinstance(around, Loop):
        carried = _carried(around, other)
        if carried is not None and carried.defining_op() is call:
            return len(ours) - 1, 0, True
    if isinstance(mine, Root) and isinstance(other, Root):
        if mine.model != other.model:
            return None
    elif mine is not other:
        return None
    runs = 0
    for a, b in zip(ours[1:], theirs[1:], strict=False):
        if isinstance(a, Extend) and isinstance(b, Extend):
            segments, whole = _within(a, b, around)
            if not whole:
                return runs, segments, False
        elif a is not b or around is not None:
            return runs, 0, False
        runs += 1
    if len(theirs) > len(ours) and theirs[len(ours)] is call and around is None:
        return runs, 0, True
    return runs, 0, False


def _within(a: Extend, b: Extend, around: Op | None) -> tuple[int, bool]:
    """How many segments of two runs are common, and whether all are."""
    if a is b and not a.inputs:
        return 0, True
    ours, theirs = segments_of(a.run), segments_of(b.run)
    for i, (x, y) in enumerate(zip(ours, theirs, strict=False)):
        if isinstance(x, Input) and isinstance(y, Input) and (x.field, x.adapter) == (y.field, y.adapter):
            relation = _between(a.inputs[x.index], b.inputs[y.index], around)
            if relation is not Relation.SAME:
                return i + (relation is Relation.GROWS), False
        elif x != y:
            return i, False
    return min(len(ours), len(theirs)), len(ours) == len(theirs)


def _between(ours: Value, theirs: Value, around: Op | None) -> Relation:
    """What the later call's value is to ours. `around`: the loop or map of which it is in another activation."""
    if around is not None:
        if ours is theirs:
            return _relation(ours, around)
        if isinstance(around, Loop) and _carried(around, theirs) is ours:
            return Relation.SAME
        return Relation.DIFFERS
    if ours is theirs:
        return Relation.SAME
    loop = theirs.defining_op()
    if isinstance(loop, Loop) and theirs.index < len(loop.init):  # what a loop gave: the last value that it carried
        argument = loop.body.args[theirs.index]
        return _relation(ours, loop) if ours is argument else Relation.DIFFERS
    return Relation.DIFFERS


def _relation(value: Value, around: Op) -> Relation:
    """What a value of one activation of a loop or map is in a later one."""
    region = _region_of(value)
    if not _inside(region, around):
        return Relation.SAME
    op = value.defining_op()
    if op is None:
        if region.parent is not around or not isinstance(around, Loop):
            return Relation.DIFFERS
        following = _carried(around, value)
        if following is None:
            return Relation.DIFFERS
        if following is value:
            return Relation.SAME
        return Relation.GROWS if _begins_with(following, value, around) else Relation.DIFFERS
    if any(isinstance(o, ASKS) for o in op.walk()):
        return Relation.DIFFERS
    if isinstance(op, Apply):
        return _relation(op.operands[0], around) if op.fn == "add" else min(_relation(v, around) for v in op.operands)
    used = {v for o in op.walk() for v in o.operands if not _inside(_region_of(v), op)}
    relations = {_relation(v, around) for v in used}
    if Relation.GROWS in relations:
        return Relation.GROWS
    return Relation.DIFFERS if Relation.DIFFERS in relations else Relation.SAME


def _begins_with(value: Value, start: Value, around: Op) -> bool:
    """Whether a value may begin with another, of the same activation."""
    if value is start:
        return True
    op = value.defining_op()
    if op is None or not _inside(_region_of(value), around) or any(isinstance(o, ASKS) for o in op.walk()):
        return False
    if isinstance(op, Apply):
        return op.fn == "add" and _begins_with(op.operands[0], start, around)
    return any(_begins_with(v, start, around) for o in op.walk() for v in o.operands)


def _carried(loop: Loop, argument: Value) -> Value | None:
    """What an argument of a loop's body is in the next iteration; None for its index."""
    args = loop.body.args
    if argument not in args:
        return None
    at = args.index(argument)
    return loop.body.ops[-1].operands[at + 1] if at < len(loop.init) else None


def _region_of(value: Value) -> Region:
    op = value.defining_op()
    region = op.parent if op is not None else value.owner
    assert isinstance(region, Region)
    return region


def _inside(region: Region, op: Op) -> bool:
    walk: Region | None = region
    while walk is not None:
        around = walk.parent
        if around is op:
            return True
        walk = around.parent if around is not None else None
    return False


def _walk(region: Region) -> Iterator[Op]:
    for op in region.ops:
        yield from op.walk()
