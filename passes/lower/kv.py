"""`prompt.request` -> `kv.root`, a chain of `kv.extend`, `kv.generate`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lampc.ir.attrs import Symbol
from lampc.ir.core import Module, Value
from lampc.ir.diag import CompileError, Diagnostic, Label, explain
from lampc.ir.kv import Extend, Generate, Root
from lampc.ir.prog import DefPredictor
from lampc.ir.prompt import Input, Run, Segment, Turn
from lampc.ir.protocols import Target
from lampc.ir.requests import Follow, RequestOp, followed
from lampc.ir.rewrite import Rewriter
from lampc.passes.lower.runs import cut, cuts
from lampc.passes.manager import PassContext

explain(
    {
        "L0932": "no target for a model\nPrompts are cut into runs by the chat template of the model that will read "
        "them, so `lower-kv` needs to know the target of each model that a predictor uses.",
    }
)


@dataclass(frozen=True)
class LowerKv:
    """Requests to local models become contexts that grow run by run; endpoints keep their requests, and so
    do predictors that two models answer.

    A run ends where the chat template of the target begins a turn with a special token, so it is tokenised
    alone; an extension takes only those operands that its slots use. A request that follows another grows the context
    that the other one's answer left, so its tokens are those that were written; where the template cannot be cut, both
    keep their requests.
    """

    name: ClassVar[str] = "lower-kv"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        models = {op.symbol: op.model.name for op in module.body.ops if isinstance(op, DefPredictor)}
        requests = [op for op in module.walk() if isinstance(op, RequestOp)]
        targets = {op.predictor.name: ctx.target_of(models.get(op.predictor.name, "main")) for op in requests}
        if wrong := [_no_target(op) for op in requests if targets[op.predictor.name] is None]:
            raise CompileError(wrong)
        rewriter = Rewriter(self.name)
        asks_two = {op.symbol for op in module.body.ops if isinstance(op, DefPredictor) and op.cascade is not None}
        talking = [op for op in requests if isinstance(op, Follow) or followed(op)]
        as_text = {models.get(n) for op in talking if not _cuttable(op, targets[n := op.predictor.name])}
        kept = extends = 0
        for op in requests:
            target = targets[op.predictor.name]
            assert target is not None
            whole = op in talking and models.get(op.predictor.name) in as_text
            if target.local and op.predictor.name not in asks_two and not whole:
                extends += _lower(op, models.get(op.predictor.name, "main"), target, rewriter)
            else:
                kept += 1
        return {"requests": len(requests) - kept, "extends": extends, "endpoint_requests": kept}


def _lower(op: RequestOp, model: str, target: Target, rewriter: Rewriter) -> int:
    if isinstance(op, Follow):
        before = op.after.defining_op()
        assert isinstance(before, Generate)  # of the same model, so lowered too
        context, runs = before.grown, cut(op.prompt, target.glue, behind=True)
    else:
        root = Root.make(predictor=op.predictor, model=Symbol(model), loc=op.loc, hint="root")
        rewriter.insert_before(op, root)
        context, runs = root.result, cut(op.prompt, target.glue)
    for run in runs:
        numbered, used = _renumbered(run, op.inputs)
        grown = Extend.make(context, *used, run=numbered, loc=op.loc, hint="ctx")
        rewriter.insert_before(op, grown)
        context = grown.result
    generate = Generate.make(
        context, sampling=op.sampling, key=op.key, predictor=op.predictor, loc=op.loc, hint="grown"
    )
    generate.text.hint = op.text.hint
    rewriter.insert_before(op, generate)
    rewriter.replace(op, [generate.text])
    return len(runs)


def _cuttable(op: RequestOp, target: Target | None) -> bool:
    """Whether turns of a prompt can be tokenised behind what the model wrote."""
    glue = target.glue if target is not None else None
    return glue is not None and glue.hard and cuts(op.prompt, glue)


def _renumbered(run: Run, inputs: list[Value]) -> tuple[Run, list[Value]]:
    """The run with its slots numbered from 0 in order of appearance, and the operands for them."""
    order: dict[int, int] = {}

    def renumber(segment: Segment) -> Segment:
        if not isinstance(segment, Input):
            return segment
        index = order.setdefault(segment.index, len(order))
        return segment if index == segment.index else replace(segment, index=index)

    segments = tuple(map(renumber, run.segments))
    turns = tuple(Turn(t.role, tuple(map(renumber, t.segments))) for t in run.turns)
    return Run(segments, turns), [inputs[i] for i in order]


def _no_target(op: RequestOp) -> Diagnostic:
    span = op.loc.origin()
    return Diagnostic(
        "L0932",
        f"there is no target for the model of predictor `{op.predictor.name}`",
        Label(span) if span else None,
        help="give the target in PassContext(target=...), or by model in PassContext(targets={...})",
    )
