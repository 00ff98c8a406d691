"""What nothing uses is removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.attrs import Attr, Obj, Symbol, declared_fields, is_declared
from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.effects import Trait, is_droppable
from lampc.ir.prog import DefModel, DefPredictor, DefRetriever, DefTool, DefTune, If, Loop, Match
from lampc.passes.manager import PassContext


@dataclass(frozen=True)
class Dce:
    """Ops without effects whose results nobody uses are removed, and results and carried values likewise.

    An LM call has no effect: unused, it is dropped, and so is what only fed it. An op that would have failed
    the row fails it no more. Predictors and `tune` variables stay even if no call is left, because a saved
    assignment or an optimizer may name them; `definitions` removes those that nothing refers to.
    """

    name: ClassVar[str] = "dce"
    label: ClassVar[str] = "E"
    definitions: bool = False

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        counts: Counter[str] = Counter(ops=0, calls=0, results=0, definitions=0)
        before = -1
        while before != counts.total():
            before = counts.total()
            for op in module.body.ops:
                for region in op.regions:
                    _region(region, counts)
            if self.definitions:
                _definitions(module, counts)
        return dict(counts)


def _region(region: Region, counts: Counter[str]) -> None:
    for op in reversed(list(region.ops)):
        if is_droppable(op) and not any(v.uses for v in op.results):
            counts["calls"] += sum(Trait.SAMPLES in o.traits for o in op.walk())
            counts["ops"] += 1
            op.erase()
            continue
        if isinstance(op, Loop):
            counts["results"] += _loop_results(op)
        elif isinstance(op, If | Match):
            counts["results"] += _arm_results(op)
        for nested in op.regions:
            _region(nested, counts)


def _loop_results(op: Loop) -> int:
    """Remove visible values that are not used, and carried ones that only carry themselves."""
    end = op.body.terminator
    if end is None:
        return 0
    removed = 0
    for i in reversed(range(len(op.results))):
        if op.results[i].uses:
            continue
        if i < len(op.init):
            arg = op.body.args[i]
            if any((user, index) != (end, i + 1) for (_, index), user in arg.uses.items()):
                continue
            _drop_operand(end, i + 1)
            del op.body.args[i]
            _renumber(op.body.args)
            _drop_operand(op, i)
        else:
            _drop_operand(end, i + 1)
        _drop_result(op, i)
        removed += 1
    return removed


def _arm_results(op: Op) -> int:
    """Remove results of branches that nothing uses."""
    ends = [r.terminator for r in op.regions]
    removed = 0
    for i in reversed(range(len(op.results))):
        if not op.results[i].uses:
            for end in ends:
                if end is not None:
                    _drop_operand(end, i)
            _drop_result(op, i)
            removed += 1
    return removed


def _drop_operand(op: Op, index: int) -> None:
    op.set_operands([v for i, v in enumerate(op.operands) if i != index])


def _drop_result(op: Op, index: int) -> None:
    del op.results[index]
    _renumber(op.results)


def _renumber(values: list[Value]) -> None:
    for i, value in enumerate(values):
        value.index = i


def _definitions(module: Module, counts: Counter[str]) -> None:
    used = {s for op in module.walk() for a in op.attrs.values() for s in _symbols(a)}
    used |= {s for a in module.attrs.values() for s in _symbols(a)}
    for op in list(module.body.ops):
        if isinstance(op, DefPredictor | DefTune | DefModel | DefRetriever | DefTool) and op.symbol not in used:
            counts["definitions"] += 1
            op.erase()


def _symbols(attr: Attr) -> Iterator[str]:
    """Names of definitions that an attribute refers to; prompts name their predictor in plain text."""
    if isinstance(attr, Symbol):
        yield attr.name
    elif isinstance(attr, tuple):
        for item in attr:
            yield from _symbols(item)
    elif isinstance(attr, Obj):
        for item in attr.values():
            yield from _symbols(item)
    elif is_declared(attr):
        for name, value in declared_fields(attr):
            if name == "predictor" and isinstance(value, str):
                yield value
            yield from _symbols(value)
