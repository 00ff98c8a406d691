"""Another order of blocks in the prompts of some predictors, so that calls share more of them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from lampc.ir.adapters import adapter
from lampc.ir.adapters.arranged import base_of, misplaced, parts_of
from lampc.ir.core import Module
from lampc.ir.diag import CompileError, Diagnostic, explain
from lampc.ir.prog import DefPredictor
from lampc.passes.manager import PassContext

explain(
    {
        "L0939": "a layout cannot be taken\nThe pass `layout` names a predictor that the module does not have, whose "
        "layout is frozen, or an order that its prompts cannot have.",
    }
)


@dataclass(frozen=True)
class Layout:
    """Predictors write their prompts in another order of blocks: `layouts` are (predictor, layout) pairs.

    A model may answer otherwise when the same text stands elsewhere, so each choice needs the gate. `lampc layout`
    finds orders that share more, tests them and keeps the record.
    """

    name: ClassVar[str] = "layout"
    label: ClassVar[str] = "G"
    layouts: tuple[tuple[str, str], ...] = ()

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        defined = {op.symbol: op for op in module.body.ops if isinstance(op, DefPredictor)}
        wrong = [d for name, layout in self.layouts if (d := _wrong(name, layout, defined))]
        if wrong:
            raise CompileError(wrong)
        moved = [(defined[name], layout) for name, layout in self.layouts if defined[name].layout != layout]
        for op, layout in moved:
            op.layout = layout
        return {"moved": len(moved)}


def _wrong(name: str, layout: str, defined: dict[str, DefPredictor]) -> Diagnostic | None:
    op = defined.get(name)
    if op is None:
        near = get_close_matches(name, defined, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(defined)) or 'none'}"
        return Diagnostic("L0939", f"predictor `{name}` is not defined", help=hint)
    if "layout" in op.frozen and layout != op.layout:
        return Diagnostic("L0939", f"the layout of `{name}` is frozen")
    if base_of(layout) != base_of(op.layout):
        return Diagnostic("L0939", f"`{layout}` is another layout than `{op.layout}`: this pass moves blocks only")
    try:
        adapter(layout)
        why = misplaced(parts_of(layout)[1], op.signature) if "[" in layout else ""
    except ValueError as e:
        why = str(e)
    return Diagnostic("L0939", f"the layout `{layout}` of `{name}`: {why}") if why else None
