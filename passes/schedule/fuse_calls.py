"""Calls that look at the same context become one call that gives all their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.adapters.joint import joint_signature
from lampc.ir.adapters.registry import ADAPTERS, ONCE
from lampc.ir.attrs import Obj, Symbol
from lampc.ir.content import Assignment, Key, Part
from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.prog import Apply, DefPredictor, FieldOf, If, Pack, Predict, Try, Yield
from lampc.ir.rewrite import Rewriter
from lampc.passes.manager import PassContext
from lampc.passes.schedule.joining import (
    LONGEST,
    call_sites,
    hangs_on,
    joint_sampling,
    taken_from,
    used_by,
    why_not,
)

FUSED = "fuse"
"""The parameter of a candidate that says which predictors' calls are fused: groups of their names."""
BEFORE = "inline,fold,cse,dce"
"""What runs before: calls of functions that stand in each other's bodies are seen side by side."""


def fused_in(module: Module, assignment: Assignment | None = None) -> tuple[tuple[str, ...], ...]:
    """The groups that a candidate fuses, or the module by itself (its attribute of that name)."""
    own = module.attrs.get(FUSED)
    found: tuple[tuple[str, ...], ...] = (own if assignment is None else assignment.get(FUSED, own)) or ()
    return found


@dataclass(frozen=True)
class FuseCalls:
    """Calls of `predictors` that stand beside each other become one, wherever they may.

    They ask the same model in the same way, at least one input is the same for all (or a call takes fields of an
    earlier one's answer), nothing with effects happens between them, and their answers together have at most `longest`
    tokens as far as they say. If the joint answer cannot be read, or its call fails, the row makes the calls that its
    author wrote, with their own random keys. The joint prompt is another prompt: whether its answers are as good is for
    a test on held-out rows.
    """

    name: ClassVar[str] = "fuse-calls"
    label: ClassVar[str] = "G"
    predictors: tuple[str, ...] = ()
    longest: int = LONGEST

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        rewriter = Rewriter(self.name)
        fused = calls = 0
        for found in list(call_sites(module)):
            wanted = [c for c in found if c.predictor.name in self.predictors]
            if sorted(c.predictor.name for c in wanted) != sorted(self.predictors):
                continue
            if not why_not(wanted, module, self.longest):
                fuse(wanted, module, rewriter)
                fused, calls = fused + 1, calls + len(wanted)
        return {"fused": fused, "calls": calls}


def fuse(calls: Sequence[Predict], module: Module, rewriter: Rewriter) -> None:
    """Replace calls by a joint one, tried, and themselves where that fails."""
    region, last = calls[0].parent, calls[-1]
    assert region is not None
    parts, inputs = joint_parts(calls)
    symbol = _definition(calls, parts, module, rewriter)
    results = [c.result for c in calls]
    after = [o for o in region.ops[: region.ops.index(last)] if o not in calls and _hangs(o, results, region)]
    tried = _tried(calls, parts, inputs, symbol)
    rewriter.insert_before(last, tried)
    failed = rewriter.insert_before(last, Apply.make(tried.results[-1], fn="bool", loc=last.loc))
    split = Region()
    mapping: dict[Value, Value] = {}
    for call in calls:
        for value in call.inputs:
            field = value.defining_op()
            if value not in mapping and isinstance(field, FieldOf) and field.record in mapping:
                split.append(field.clone(mapping))
        split.append(call.clone(mapping))
    split.append(Yield.make(*(mapping[r] for r in results)))
    whole = Region()
    whole.append(Yield.make(*tried.results[:-1]))
    types = [r.type for r in results]
    chosen = rewriter.insert_before(last, If.make(failed.result, regions=[split, whole], types=types, loc=last.loc))
    for call, value in zip(calls, chosen.results, strict=True):
        rewriter.replace(call, [value])
    for op in after:  # they use what is only known now
        region.ops.remove(op)
    place = region.ops.index(chosen) + 1
    region.ops[place:place] = after


def joint_parts(calls: Sequence[Predict]) -> tuple[list[Part], list[Value]]:
    """What the joint signature calls each field of each part, and its input values in order."""
    names: dict[Value, str] = {}
    fields: dict[tuple[Value, str], str] = {}
    taken: set[str] = set()
    parts: list[Part] = []
    inputs: list[Value] = []
    results = {c.result for c in calls}

    def fresh(name: str, owner: str) -> str:
        found, n = name, 1
        while found in taken:
            n += 1
            found = f"{owner}_{name}" if n == 2 else f"{owner}_{name}_{n}"
        taken.add(found)
        return found

    for call in calls:
        owner, own = call.predictor.name, {}
        for field, value in zip(call.signature.inputs, call.inputs, strict=True):
            source = taken_from(value)
            if source in results and source is not None:
                op = value.defining_op()
                assert isinstance(op, FieldOf)
                own[field.name] = fields[source, op.field]
                continue
            if value not in names:
                names[value] = fresh(field.name, owner)
                inputs.append(value)
            own[field.name] = names[value]
        for field in call.signature.outputs:
            own[field.name] = fields[call.result, field.name] = fresh(field.name, owner)
        parts.append(Part(owner, Obj(tuple(sorted(own.items())))))
    return parts, inputs


def _definition(calls: Sequence[Predict], parts: Sequence[Part], module: Module, rewriter: Rewriter) -> str:
    """The joint predictor; one that is there already serves."""
    first = module.lookup(calls[0].predictor.name)
    assert isinstance(first, DefPredictor)
    signature = joint_signature([(p, c.signature) for p, c in zip(parts, calls, strict=True)])
    name = base = "_and_".join(p.predictor for p in parts)
    n = 1
    while (known := module.lookup(name)) is not None:
        if isinstance(known, DefPredictor) and known.joins == tuple(parts) and known.signature == signature:
            return name
        n += 1
        name = f"{base}_{n}"
    once = first.layout + ONCE
    made = DefPredictor.make(
        symbol=name,
        signature=signature,
        layout=once if once in ADAPTERS else first.layout,  # what cannot be read is asked for call by call
        model=first.model,
        sampling=first.sampling,
        frozen=("instruction", "demos", "layout", "model"),
        joins=tuple(parts),
        loc=first.loc,
    )
    rewriter.insert(module.body, module.body.ops.index(first) + 1, made)
    return name


def _tried(calls: Sequence[Predict], parts: Sequence[Part], inputs: Sequence[Value], symbol: str) -> Op:
    """The joint call within a try; it yields a record for each part."""
    body = Region()
    sampling = joint_sampling([c.sampling for c in calls])
    assert sampling is not None
    loc = calls[-1].loc
    signature = joint_signature([(p, c.signature) for p, c in zip(parts, calls, strict=True)])
    key = Key((*calls[0].key.path, "joint"))
    joint = body.append(
        Predict.make(*inputs, predictor=Symbol(symbol), signature=signature, sampling=sampling, key=key, loc=loc)
    )
    made = []
    for call, part in zip(calls, parts, strict=True):
        outputs = [f.name for f in call.signature.outputs]
        values = [body.append(FieldOf.make(joint.result, field=str(part.names[n]), loc=loc)).result for n in outputs]
        made.append(body.append(Pack.make(*values, names=tuple(outputs), loc=loc)).result)
    body.append(Yield.make(*made, loc=loc))
    return Try.make(regions=[body], loc=loc)


def _hangs(op: Op, results: Sequence[Value], region: Region) -> bool:
    return any(hangs_on(v, set(results), region) for v in used_by(op))
