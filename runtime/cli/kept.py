"""What `lampc explain` says of the K/V plan: what of a call's context is held for later calls, and until when."""

from __future__ import annotations

from lampc.ir import Module, Op
from lampc.ir.kv import Extend, Generate
from lampc.ir.prog import Func
from lampc.ir.prompt import Input
from lampc.passes.schedule.common_contexts import segments_of
from lampc.passes.schedule.later_use import Stay, chain, later_uses


def kept(module: Module) -> list[str]:
    """A line for each call of a lowered module whose context later calls of the row go on from."""
    lines = []
    for func in module.body.ops:
        for call, stays in later_uses(func).items() if isinstance(func, Func) else ():
            if stays and isinstance(call, Generate):
                held = "; ".join(f"{_what(call, stay)} until {_name(stay.until)} has ended" for stay in stays)
                lines.append(f"K/V held after {call.predictor.name}: {held}")
    return lines


def _what(call: Op, stay: Stay) -> str:
    if stay.answer:
        return "prompt and answer"
    names = []
    for i, op in enumerate(chain(call)[1:]):
        shown = segments_of(op.run)[: None if i < stay.runs else stay.segments] if isinstance(op, Extend) else ()
        names += [s.field.name for s in shown if isinstance(s, Input)] if i <= stay.runs else []
    return "the prompt up to " + names[-1] if names else "the prompt"


def _name(op: Op | None) -> str:
    if op is None:
        return "the row"
    name = op.op_name.rpartition(".")[2]
    if isinstance(op, Generate):
        return f"the call of {op.predictor.name}"
    span = op.loc.origin()
    return f"the {name}" + (f" at line {span.line}" if span is not None and hasattr(span, "line") else "")


__all__ = ["kept"]
