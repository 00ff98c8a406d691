"""From a module to something that runs: structural parameters bound, the standard pipeline applied."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lampc.ir import Assignment, Module, Op, Region, Symbol, Target, Value
from lampc.ir.core import walk_values
from lampc.ir.effects import Trait
from lampc.ir.kv import Extend, Generate, Root
from lampc.ir.prog import Assert, DefModel, DefPredictor, FieldOf, Func, If, Map, Match
from lampc.ir.prompt import Demos, Instruction, Shots
from lampc.ir.requests import Parse
from lampc.passes.manager import Pipeline, RunOptions
from lampc.passes.schedule.common_contexts import segments_of
from lampc.passes.schedule.fuse_calls import FUSED, FuseCalls, fused_in
from lampc.passes.table import STANDARD
from lampc.runtime.interp import entry_function

if TYPE_CHECKING:
    from lampc.passes.schedule.later_use import Stay

ON_TRIAL = RunOptions(on_trial=True)
"""Of passes that a candidate asks for by name: whoever made the candidate held it against rows, or is doing so."""
QUICKLY = RunOptions(on_trial=True, quick=True)

ANY_LENGTH = 1 << 30
"""Of joint answers that a candidate asks for: how long they may be was decided when it was made."""

STRUCTURAL = ("layout", "model", "cascade")
"""Parameters of predictors that change the lowered program."""


def structural(module: Module, assignment: Assignment) -> Assignment:
    """The part of a candidate that changes the lowered program: layouts, models, cascades, and which calls are
    fused."""
    names = {op.symbol for op in module.body.ops if isinstance(op, DefPredictor)}
    kept = {
        k: v
        for k, v in assignment.values.items()
        if k.rpartition(".")[2] in STRUCTURAL and k.rpartition(".")[0] in names
    }
    if groups := assignment.get(FUSED):
        kept[FUSED] = groups
    return Assignment().updated(**kept)


def specialise(module: Module, assignment: Assignment) -> Module:
    """A copy whose predictors have the layouts and models of `assignment`; models that it names by what they are (a
    folder, say) are defined."""
    copy = module.clone()
    for op in list(copy.body.ops):
        if isinstance(op, DefPredictor):
            op.layout = assignment.get(f"{op.symbol}.layout", op.layout)
            op.cascade = assignment.get(f"{op.symbol}.cascade", op.cascade)
            model = assignment.get(f"{op.symbol}.model", op.model.name)
            for name in (model, *([op.cascade.proxy] if op.cascade is not None else ())):
                if name not in ("main", op.model.name) and copy.lookup(name) is None:
                    copy.body.ops.insert(0, DefModel.make(symbol=name, source=name))
            op.model = Symbol(model)
    return copy


def lower(
    module: Module, target: Callable[[str], Target], assignment: Assignment | None = None, pipeline: str = STANDARD
) -> Module:
    """Run the pipeline on a copy. `target` gives the target of a model's name. The module is left as it was."""
    from lampc.passes.manager import PassContext, PassFailed

    copy, passes = specialise(module, assignment or Assignment()), passes_for(module, assignment, pipeline)
    context = PassContext(targets={m: target(m) for m in models_of(copy)})
    try:
        passes.run(copy, context, QUICKLY)
    except PassFailed:  # which one, and from which module, is found out by looking closer
        passes.run(specialise(module, assignment or Assignment()), context, ON_TRIAL)
        raise
    return copy


def simplified(module: Module, assignment: Assignment | None = None) -> Module:
    """A copy after the passes that merge, drop or move calls: those that need no target."""
    from lampc.passes.manager import PassContext

    copy = specialise(module, assignment or Assignment())
    passes_for(module, assignment, STANDARD.partition(",lower-")[0]).run(copy, PassContext(targets={}), ON_TRIAL)
    return copy


def passes_for(module: Module, assignment: Assignment | None, pipeline: str = STANDARD) -> Pipeline:
    """The passes of a pipeline, with those that a program or candidate asks for: calls are fused once functions are
    inlined and what is not needed is gone."""
    made = Pipeline.parse(pipeline)
    groups = fused_in(module, assignment)
    if not groups:
        return made
    names = [p.name for p in made.passes]
    at = names.index("dce") + 1 if "dce" in names else 0
    fusing = tuple(FuseCalls(tuple(group), ANY_LENGTH) for group in groups)
    return Pipeline((*made.passes[:at], *fusing, *made.passes[at:]))


@dataclass(slots=True)
class RegionPlan:
    """What the executor must know of a region: for each op how many things it waits for, and who waits.

    The terminator waits for every other op; ops with effects wait for the one before them. `branches` have arms that
    may be begun ahead.
    """

    region: Region
    waits: list[int] = field(default_factory=list)
    dependents: dict[Value, list[int]] = field(default_factory=dict)
    following: dict[int, int] = field(default_factory=dict)
    branches: list[int] = field(default_factory=list)
    pipes: dict[int, tuple[int, Parse, tuple[Value, ...]]] = field(default_factory=dict)
    """By a generation whose list a map goes through: the map, what reads the answer, and what else the map needs."""
    early: tuple[int, ...] = ()  # generations whose context may be computed in part before all of it is known

    @staticmethod
    def of(region: Region) -> RegionPlan:
        plan = RegionPlan(region)
        plan.early = tuple(i for i, op in enumerate(region.ops) if isinstance(op, Generate) and op.early)
        for i, op in enumerate(region.ops):
            if isinstance(op, Map) and op.streams:
                plan._pipe(i, op)
        local = {v for op in region.ops for v in op.results}
        previous = -1
        for i, op in enumerate(region.ops):
            if i == len(region.ops) - 1:
                plan.waits.append(i)
                break
            needs = needed(op) & local
            for value in needs:
                plan.dependents.setdefault(value, []).append(i)
            if isinstance(op, If | Match) and op.ahead:
                plan.branches.append(i)
            chained = is_ordered(op)
            plan.waits.append(len(needs) + (chained and previous >= 0))
            if chained:
                if previous >= 0:
                    plan.following[previous] = i
                previous = i
        return plan

    def _pipe(self, i: int, op: Map) -> None:
        source = op.items.defining_op()
        parse = source.record.defining_op() if isinstance(source, FieldOf) else None
        generate = parse.text.defining_op() if isinstance(parse, Parse) else None
        if isinstance(parse, Parse) and generate in self.region.ops:
            needs = tuple(needed(op) - {op.items})
            self.pipes[self.region.ops.index(generate)] = i, parse, needs


def needed(op: Op) -> set[Value]:
    """Values from outside that an op or its regions use."""
    if not op.regions:
        return set(op.operands)
    inside = {v for r in op.regions for v in walk_values(r)}
    return {v for o in op.walk() for v in o.operands} - inside


def is_ordered(op: Op) -> bool:
    """Whether the op has effects that must happen in program order within a row."""
    if isinstance(op, Assert):
        return True
    if Trait.CALLS in op.traits and op.attrs.get("effect", "effect") == "effect":
        return True
    return any(is_ordered(o) for r in op.regions for o in r.ops)


def models_of(module: Module) -> set[str]:
    """Names of the models that predictors of a module ask, those of cascades too."""
    found = [op for op in module.body.ops if isinstance(op, DefPredictor)]
    return {op.model.name for op in found} | {op.cascade.proxy for op in found if op.cascade is not None}


class Executable:
    """A lowered module with its analyses, made once and run for any number of cells."""

    def __init__(self, module: Module, entry: str | None) -> None:
        self.module = module
        self.func: Func = entry_function(module, entry)
        self.statics: dict[tuple[int, str], tuple[int, ...]] = {}
        self._plans: dict[int, RegionPlan] = {}
        self._contexts: dict[Op, tuple[tuple[Op | Value, ...], int]] = {}

    def plan(self, region: Region) -> RegionPlan:
        found = self._plans.get(id(region))
        if found is None:
            found = self._plans[id(region)] = RegionPlan.of(region)
        return found

    @functools.cached_property
    def calls_left(self) -> Mapping[Op, int]:
        """How many calls follow one another from each op on that makes one."""
        from lampc.passes.schedule.critical_path import calls_left

        return {op: n for f in self.module.body.ops if isinstance(f, Func) for op, n in calls_left(f).items()}

    @functools.cached_property
    def later(self) -> Mapping[Op, tuple[Stay, ...]]:
        """What later calls of a row need of the context of each call."""
        from lampc.passes.schedule.later_use import later_uses

        return later_uses(self.func)

    def context(self, call: Op) -> tuple[tuple[Op | Value, ...], int]:
        """What a call's context grows by, and how many runs at its front hang on no input."""
        found = self._contexts.get(call)
        if found is None:
            from lampc.passes.schedule.later_use import chain, static_runs

            found = self._contexts[call] = chain(call), static_runs(call)
        return found

    @functools.cached_property
    def inside(self) -> Mapping[Op, tuple[Op, ...]]:
        """The calls in each op of the function itself: none of them is made once that has ended."""
        found = {op: tuple(o for o in op.walk() if o in self.later) for op in self.func.body.ops}
        return {op: calls for op, calls in found.items() if calls}

    @functools.cached_property
    def ends(self) -> frozenset[Op]:
        """Ops after which less of some context is needed."""
        return frozenset(s.until for stays in self.later.values() for s in stays if s.until).union(self.inside)

    @functools.cached_property
    def predictors(self) -> Mapping[str, DefPredictor]:
        return {op.symbol: op for op in self.module.body.ops if isinstance(op, DefPredictor)}


def predictor_of(op: Extend, exe: Executable) -> str:
    """The predictor whose prompt an extension belongs to: named by its segments, or by the root below."""
    own = next((s.predictor for s in segments_of(op.run) if isinstance(s, Instruction | Demos | Shots)), "")
    if own:
        return own
    context: Value = op.context
    while True:
        below = context.defining_op()
        if isinstance(below, Root):
            return below.predictor.name
        if not isinstance(below, Extend | Generate):
            return next(iter(exe.predictors))
        context = below.context
