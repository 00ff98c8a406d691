"""Which calls of a program may become one call, and which may not, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from lampc.ir.content import Sampling
from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.effects import is_droppable
from lampc.ir.prog import Apply, DefPredictor, FieldOf, If, Predict, Try
from lampc.ir.types import ListOf, MapOf, Record, Type
from lampc.passes.lower.continuing import in_conversation

LONGEST = 2048
"""Tokens that one call may write, where its parts say how long their answers are."""


def call_sites(module: Module) -> Iterator[list[Predict]]:
    """Calls that stand beside each other, region by region; not those that a joint call falls back on."""
    for op in module.walk():
        for region in op.regions:
            calls = [o for o in region.ops if isinstance(o, Predict) and not in_conversation(o)]
            if len(calls) > 1 and not falls_back(op, module):
                yield calls


def falls_back(op: Op, module: Module) -> bool:
    """Whether an op chooses between the answers of a joint call and the calls that it stands for."""
    if not isinstance(op, If):
        return False
    test = op.condition.defining_op()
    tried = test.operands[0].defining_op() if isinstance(test, Apply) and test.fn == "bool" else None
    if not isinstance(tried, Try) or not tried.body.ops:
        return False
    call = tried.body.ops[0]
    definition = module.lookup(call.predictor.name) if isinstance(call, Predict) else None
    return isinstance(definition, DefPredictor) and bool(definition.joins)


def groups(module: Module, longest: int = LONGEST) -> list[tuple[str, ...]]:
    """Predictors whose calls may be joined, the largest groups first, then by how much text they have in common as
    far as types tell; a group that a larger one holds stands after it."""
    found: dict[tuple[str, ...], None] = {}
    for calls in call_sites(module):
        for size in range(min(len(calls), 4), 1, -1):
            for some in combinations(calls, size):
                if not why_not(some, module, longest):
                    found[tuple(c.predictor.name for c in some)] = None
    return sorted(found, key=len, reverse=True)


def why_not(calls: Sequence[Predict], module: Module, longest: int = LONGEST) -> str:
    """Why calls of one region, in program order, cannot become one; empty if they can."""
    names = [c.predictor.name for c in calls]
    definitions = [module.lookup(n) for n in names]
    first, region = definitions[0], calls[0].parent
    if len(set(names)) < len(names):
        return f"{names[0]} is called several times: its fields would have one name each"
    for definition in definitions:
        if not isinstance(definition, DefPredictor) or definition.joins:
            return "one of them is joint already"
        assert isinstance(first, DefPredictor)
        if (definition.model, definition.layout) != (first.model, first.layout):
            return f"{definition.symbol} asks another model, or in another layout"
        if any(f.shape is not None and f.shape.form == "history" for f in definition.signature.inputs):
            return f"{definition.symbol} goes on with a conversation"
    if joint_sampling([c.sampling for c in calls]) is None:
        return "their answers are drawn in different ways"
    bounds = [c.sampling.max_tokens for c in calls]
    if all(bounds) and sum(bounds) > longest:
        return f"together they may write {sum(bounds)} tokens, more than {longest}"
    if wide := next((f.name for c in calls for f in c.signature.outputs if not small(f.type)), ""):
        return f"`{wide}` is no small output"
    assert region is not None
    between = region.ops[region.ops.index(calls[0]) : region.ops.index(calls[-1])]
    if effect := next((o for o in between if not is_droppable(o)), None):
        return f"{effect.op_name} happens between them"
    return _entangled(calls, region)


def small(type: Type) -> bool:
    """Whether values are short as far as a type tells: no lists of records, no nested tables."""
    if isinstance(type, ListOf):
        return not isinstance(type.item, ListOf | Record | MapOf)
    return not isinstance(type, MapOf)


def joint_sampling(samplings: Sequence[Sampling]) -> Sampling | None:
    """The sampling of the joint call: as long as all together; None if they differ in anything else."""
    alike = {replace(s, max_tokens=0) for s in samplings}
    if len(alike) > 1:
        return None
    bounds = [s.max_tokens for s in samplings]
    return replace(samplings[0], max_tokens=sum(bounds) if all(bounds) else 0)


def _entangled(calls: Sequence[Predict], region: Region) -> str:
    """Siblings have an operand in common; what a later call takes from an earlier one is a field of its answer, as it
    stands there."""
    results = {c.result: i for i, c in enumerate(calls)}
    shared: list[set[Value]] = []
    for i, call in enumerate(calls):
        own: set[Value] = set()
        chained = False
        for value in call.inputs:
            source = taken_from(value)
            if source is not None and source in results:
                chained = True
            elif hangs_on(value, set(results), region):
                return f"{call.predictor.name} takes what was computed from the answer of an earlier one"
            else:
                own.add(value)
        if not chained:
            shared.append(own)
        elif results and i == 0:
            return "the first of them takes its own answer"
    if len(shared) > 1 and not set.intersection(*shared):
        return "they have no input in common"
    return ""


def taken_from(value: Value) -> Value | None:
    """The answer that a value is a field of."""
    op = value.defining_op()
    return op.record if isinstance(op, FieldOf) and isinstance(op.record.defining_op(), Predict) else None


def hangs_on(value: Value, results: set[Value], region: Region) -> bool:
    """Whether a value is computed, in this region, from one of `results`."""
    todo, seen = [value], set()
    while todo:
        one = todo.pop()
        if one in results:
            return True
        op = one.defining_op()
        if op is None or op.parent is not region or op in seen:
            continue
        seen.add(op)
        todo += used_by(op)
    return False


def used_by(op: Op) -> list[Value]:
    """Operands of an op and of all that it contains."""
    return [v for o in op.walk() for v in o.operands]


__all__ = [
    "LONGEST",
    "call_sites",
    "falls_back",
    "groups",
    "hangs_on",
    "joint_sampling",
    "small",
    "taken_from",
    "used_by",
    "why_not",
]
