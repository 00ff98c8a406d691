"""`prog.predict` -> `prompt.request` + `prompt.parse`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from lampc.ir.adapters import ADAPTERS, adapter
from lampc.ir.adapters.arranged import base_of, misplaced, parts_of
from lampc.ir.adapters.bind import following
from lampc.ir.adapters.lengths import call_sampling
from lampc.ir.adapters.registry import asked_once
from lampc.ir.core import Module, Op
from lampc.ir.diag import CompileError, Diagnostic, Label, explain
from lampc.ir.prog import Continue, DefPredictor, Predict
from lampc.ir.protocols import Target
from lampc.ir.requests import Follow, Parse, RequestOp
from lampc.ir.rewrite import Rewriter
from lampc.passes.lower.continuing import apart, in_conversation
from lampc.passes.manager import PassContext

explain(
    {
        "L0931": "an LM call cannot be lowered to a prompt\nThe call names a predictor that the module does not "
        "define, or a layout that does not exist. The layout of a predictor stands in its definition; an assignment "
        "may change it.",
    }
)


@dataclass(frozen=True)
class LowerPrompts:
    """Every LM call becomes a prompt to send and a parser of the answer.

    `layouts` are (predictor, layout) pairs that go before the layouts of the definitions: those that a
    candidate has chosen.
    """

    name: ClassVar[str] = "lower-prompts"
    label: ClassVar[str] = "E"
    layouts: tuple[tuple[str, str], ...] = ()

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        defined = {op.symbol: op.layout for op in module.body.ops if isinstance(op, DefPredictor)}
        layouts = {**defined, **dict(self.layouts)}
        calls = [op for op in module.walk() if isinstance(op, Predict)]
        wrong = [d for op in calls if (d := _unknown(op, defined, layouts) or apart(op, module, layouts))]
        if wrong:
            raise CompileError(wrong)
        models = {op.symbol: op.model.name for op in module.body.ops if isinstance(op, DefPredictor)}
        rewriter = Rewriter(self.name)
        for op in calls:
            name = op.predictor.name
            _lower(op, layouts[name], ctx.target_of(models[name]), rewriter)
        return {"requests": len(calls)}


def _lower(op: Predict, layout: str, target: Target | None, rewriter: Rewriter) -> None:
    hint = op.result.hint
    if in_conversation(op):
        layout = asked_once(layout)
    prompt, kind, inputs = adapter(layout).render(op.signature, op.predictor.name), RequestOp, op.inputs
    if isinstance(op, Continue):
        before = op.after.defining_op()
        assert isinstance(before, Parse)  # calls are lowered in program order
        prompt, kind, inputs = following(prompt), Follow, [before.text, *inputs]
    request = kind.make(
        *inputs,
        predictor=op.predictor,
        prompt=prompt,
        sampling=call_sampling(op.signature, layout, op.sampling, target),
        key=op.key,
        loc=op.loc,
        hint=f"{hint}_text" if hint else "text",
    )
    rewriter.insert_before(op, request)
    parse = Parse.make(
        request.text,
        *op.inputs,
        predictor=op.predictor,
        signature=op.signature,
        layout=layout,
        types=[op.result.type],
        loc=op.loc,
        hint=hint,
    )
    rewriter.replace(op, parse)


def _unknown(op: Predict, defined: Mapping[str, str], layouts: Mapping[str, str]) -> Diagnostic | None:
    name = op.predictor.name
    if name not in defined:
        return _finding(op, f"predictor `{name}` is not defined", list(defined), name)
    try:
        adapter(layouts[name])
    except ValueError:
        return _finding(op, f"there is no layout `{layouts[name]}`", list(ADAPTERS), layouts[name])
    if base_of(layouts[name]) == layouts[name] or not (wrong := misplaced(parts_of(layouts[name])[1], op.signature)):
        return None
    span = op.loc.origin()
    return Diagnostic("L0931", f"the layout `{layouts[name]}` of `{name}`: {wrong}", Label(span) if span else None)


def _finding(op: Op, message: str, known: list[str], wanted: str) -> Diagnostic:
    span = op.loc.origin()
    near = get_close_matches(wanted, known, 1)
    hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
    return Diagnostic("L0931", message, Label(span) if span else None, help=hint)
