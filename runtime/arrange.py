"""Finding the order of blocks in which a program's prompts share the most, and what it is worth.

The program is run on a sample of rows as it is; its calls, under one or many candidates, are the prompts that orders
are tried on (`lampc.passes.schedule.orders`). What an order is worth is then counted on whole prompts, in the tokens of
the model.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, Module
from lampc.ir.adapters import Bound, adapter, bind_predictors, bind_prompt, demo_turns, segment_text
from lampc.ir.adapters.arranged import DEMOS, INSTRUCTION, base_of, layout_in, own_blocks, parts_of
from lampc.ir.attrs import freeze
from lampc.ir.content import Demo, DemoSet
from lampc.ir.prog import DefPredictor
from lampc.ir.prompt import Demos
from lampc.ir.protocols import Target
from lampc.passes.lower.continuing import conversing
from lampc.passes.schedule.block_tree import Blocks
from lampc.passes.schedule.orders import Sample, row_orders, solve
from lampc.runtime.estimate import quads
from lampc.runtime.plan import prefix_bound
from lampc.runtime.types import Outcome, TraceStep

if TYPE_CHECKING:
    from lampc.runtime.session import Session

MOST_CALLS = 1024
"""Calls of a predictor that orders are tried on, those of all candidates together (at least eight of each)."""
WORTH = 0.1
"""The least share of prompt tokens that a new order has to save."""


@dataclass(frozen=True)
class Arrangement:
    """What was found. `layouts` are by predictor those that would change, `before` those that they have now.

    Tokens are of the sample under all candidates: `asked` of all prompts, `as_is` and `tokens` those of their prefix
    trees, before and after. `rowwise` is what the tree would have if each row had an order of its own (GGR), where that
    is less: no layout does this. Predictors in `apart` call within a conversation (`prog.continue`): they keep their
    order, and no prompt of theirs is counted, as what stands before it is not known here.
    """

    layouts: dict[str, str]
    before: dict[str, str]
    calls: int
    trials: int
    asked: int
    as_is: int
    tokens: int
    rowwise: int
    apart: tuple[str, ...] = ()

    @property
    def saving(self) -> float:
        """The share of prompt tokens that is not computed any more, 0 to 1."""
        return 1 - self.tokens / self.as_is if self.as_is else 0.0


def candidates(
    module: Module, steps: Mapping[str, Sequence[TraceStep]], start: Assignment, trials: int, demos: int, seed: int
) -> list[Assignment]:
    """As many candidates as an optimizer would try: the first is `start`, the others have an instruction of their own
    and up to `demos` demos drawn from the sample's calls, for each predictor. For counting tokens only."""
    out = [start]
    for i in range(1, trials):
        changes: dict[str, Any] = {}
        for name, bound in bind_predictors(module, start).items():
            known = [s for s in steps.get(name, ()) if s.outputs]
            drawn = random.Random(f"{seed} {name} {i}").sample(known, min(demos, len(known)))
            shown = tuple(Demo(freeze({**s.inputs, **s.outputs}), True) for s in drawn)
            changes |= {f"{name}.instruction": f"{i}. {bound.instruction}", f"{name}.demos": DemoSet(shown)}
        out.append(start.updated(**changes))
    return out


def calls_of(outcomes: Iterable[Outcome]) -> dict[str, list[TraceStep]]:
    """The calls of some runs, by predictor."""
    steps: dict[str, list[TraceStep]] = {}
    for outcome in outcomes:
        for step in outcome.trace:
            steps.setdefault(step.predictor, []).append(step)
    return steps


def arrange(
    session: Session, module: Module, steps: Mapping[str, Sequence[TraceStep]], trials: Sequence[Assignment]
) -> Arrangement:
    """The best layouts for the calls of a sample of rows under some candidates, of which the first is in force.

    Raises ValueError if there are no calls.
    """
    if not any(steps.values()):
        raise ValueError("the program made no call on the sample, so there is nothing to arrange")
    frozen = {op.symbol for op in module.body.ops if isinstance(op, DefPredictor) and "layout" in op.frozen}
    talking = conversing(module)
    bound_by_trial = [bind_predictors(module, a) for a in trials]
    bounds = {n: b for n, b in bound_by_trial[0].items() if steps.get(n) and n not in talking}
    cells = {
        name: [(b[name], s) for b in bound_by_trial for s in steps[name][: max(8, MOST_CALLS // len(trials))]]
        for name in bounds
    }
    found: dict[str, str] = {}
    apart = 0
    for model in dict.fromkeys(b.model for b in bounds.values()):
        target, blocks = session.models.get(model, module).target, Blocks()
        names = [n for n, b in bounds.items() if b.model == model]
        samples = [_sample(bounds[n], cells[n], target, blocks, n not in frozen) for n in names]
        apart += sum(_saved_apart(sample, blocks) for sample in samples)
        for name, order in solve(samples, blocks).items():
            bound = bounds[name]
            if movable(bound) and order != blocks_of(bound):
                found[name] = layout_in(base_of(bound.layout), order, bound.signature)
    before = {n: bounds[n].layout for n in found}
    asked, as_is = _count(session, module, cells, {})
    _, tokens = _count(session, module, cells, found)
    if tokens >= as_is:  # block by block it looked better than it is
        found, before, tokens = {}, {}, as_is
    calls = sum(map(len, steps.values()))
    aside = tuple(n for n in bound_by_trial[0] if n in talking)
    return Arrangement(found, before, calls, len(trials), asked, as_is, tokens, min(tokens, as_is - apart), aside)


def blocks_of(bound: Bound) -> tuple[str, ...]:
    """The order of a predictor's blocks. Raises ValueError where blocks cannot be told apart."""
    return (
        parts_of(bound.layout)[1] or own_blocks(bound.signature) if "[" in bound.layout else own_blocks(bound.signature)
    )


def movable(bound: Bound) -> bool:
    """Whether the blocks of a predictor can be put in another order."""
    how = adapter(bound.layout)
    try:
        return (
            hasattr(how, "task")
            and len(blocks_of(bound)) > 2
            and bool(layout_in(how.name, blocks_of(bound), bound.signature))
        )
    except ValueError:
        return False


def _sample(
    bound: Bound, cells: Sequence[tuple[Bound, TraceStep]], target: Target, blocks: Blocks, free: bool
) -> Sample:
    """The calls of a predictor as numbered blocks; one whose blocks cannot be moved has a single block, its prompt."""
    if not movable(bound):
        whole = [blocks.number(_ids(b, s, target)) for b, s in cells]
        return Sample(bound.name, ("prompt",), {"prompt": whole}, False)
    own = blocks_of(bound)
    names = {id(b): b for b, _ in cells}
    fixed = {i: _fixed(b, target, blocks) for i, b in names.items()}
    kept: dict[tuple[str, str], int] = {}
    columns: dict[str, list[int]] = {name: [] for name in own}
    how: Any = adapter(bound.layout)
    slots = {f.name: how.slot(i, f, first=True) for i, f in enumerate(bound.signature.inputs) if f.name in own}
    for b, step in cells:
        values = [step.inputs.get(f.name) for f in bound.signature.inputs]
        for name in own:
            if name in (INSTRUCTION, DEMOS):
                columns[name].append(fixed[id(b)][name])
                continue
            text = "".join(segment_text(s, b, values, target.quote) for s in slots[name])
            if (name, text) not in kept:
                kept[name, text] = blocks.number(_encode(text, target))
            columns[name].append(kept[name, text])
    return Sample(bound.name, own, columns, free, frozenset({DEMOS}))


def _fixed(bound: Bound, target: Target, blocks: Blocks) -> dict[str, int]:
    """The blocks of a candidate that are the same for all rows."""
    how: Any = adapter(bound.layout)
    task = "".join(segment_text(s, bound, (), target.quote) for s in how.task(bound.signature, bound.name))
    demos = "".join(text for _, text in demo_turns(Demos(bound.name, bound.layout), bound, target.quote))
    return {name: blocks.number(_encode(text, target)) for name, text in ((INSTRUCTION, task), (DEMOS, demos))}


def _saved_apart(sample: Sample, blocks: Blocks) -> int:
    """How much smaller the tree of one predictor is if each row has an order of its own."""
    if not sample.movable or len(sample.own) < 2:
        return 0
    orders = row_orders(sample.columns, blocks)
    apart = ([sample.columns[n][i] for n in order] for i, order in enumerate(orders))
    return max(0, blocks.size(sample.prompts(sample.own)) - blocks.size(apart))


def _count(
    session: Session, module: Module, cells: dict[str, list[tuple[Bound, TraceStep]]], layouts: dict[str, str]
) -> tuple[int, int]:
    """Tokens of all prompts, and of their prefix trees, with some predictors in another layout."""
    asked = 0
    prompts: dict[str, list[tuple[int, ...]]] = {}
    for name, calls in cells.items():
        target = session.models.get(calls[0][0].model, module).target
        for bound, step in calls:
            ids = _ids(replace(bound, layout=layouts.get(name, bound.layout)), step, target)
            asked += len(ids)
            prompts.setdefault(bound.model, []).append(ids)
    return asked, sum(map(prefix_bound, prompts.values()))


def _ids(bound: Bound, step: TraceStep, target: Target) -> tuple[int, ...]:
    """The whole prompt of a call."""
    prompt = adapter(bound.layout).render(bound.signature, bound.name)
    values = [step.inputs.get(f.name) for f in bound.signature.inputs]
    return _encode(target.render_chat(bind_prompt(prompt, bound, values, target.quote)), target)


def _encode(text: str, target: Target) -> tuple[int, ...]:
    """Tokens of a text; of a model whose tokens are not known, four bytes to a token."""
    return tuple(target.tokens.encode(text)) if target.tokens is not None else tuple(quads(text))
